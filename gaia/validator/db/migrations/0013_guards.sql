-- What rows promise, kept by the server, whoever writes to them.

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row of % is kept as it was written (%)', TG_TABLE_NAME, TG_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE FUNCTION refuse_transition() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row of % does not go from % to %', TG_TABLE_NAME, OLD.state, NEW.state
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE FUNCTION refuse_living_forecasts() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM forecasts
                WHERE run_id = NEW.run_id AND state NOT IN ('scored', 'rejected', 'excused')) THEN
        RAISE EXCEPTION 'run % is not complete: it has forecasts that are not at their end', NEW.run_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

-- Runs are opened, and completed once none of their forecasts has work left.
CREATE TRIGGER runs_are_kept BEFORE DELETE ON runs FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER runs_stay_what_they_are BEFORE UPDATE OF run_id, init_time, rule_set, opened_at ON runs
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER runs_keep_their_contract BEFORE UPDATE OF contract ON runs
    FOR EACH ROW WHEN (OLD.contract IS NOT NULL) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER runs_end_once BEFORE UPDATE OF state, completed_at ON runs
    FOR EACH ROW WHEN (OLD.state = 'completed') EXECUTE FUNCTION refuse_change();
CREATE TRIGGER runs_end_with_their_forecasts BEFORE UPDATE OF state ON runs
    FOR EACH ROW WHEN (OLD.state <> 'completed' AND NEW.state = 'completed')
    EXECUTE FUNCTION refuse_living_forecasts();

-- Forecasts move as `lifecycle.TRANSITIONS` says. Day 1 may be scored last, which moves a forecast by two states at once.
CREATE TRIGGER forecasts_are_kept BEFORE DELETE ON forecasts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER forecasts_stay_what_they_are BEFORE UPDATE OF run_id, hotkey, uid, registered_at, opened_at ON forecasts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER forecasts_move_forward BEFORE UPDATE OF state ON forecasts
    FOR EACH ROW WHEN (OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('planned', 'requested'), ('planned', 'rejected'), ('planned', 'excused'),
        ('requested', 'frozen'), ('requested', 'rejected'), ('requested', 'excused'),
        ('frozen', 'scored_day1'), ('frozen', 'scored'), ('frozen', 'rejected'), ('frozen', 'excused'),
        ('scored_day1', 'scored'), ('scored_day1', 'rejected'), ('scored_day1', 'excused')))
    EXECUTE FUNCTION refuse_transition();
CREATE TRIGGER forecasts_keep_their_manifest
    BEFORE UPDATE OF manifest, signature, manifest_sha256, committed_at, committed_round, signed_by ON forecasts
    FOR EACH ROW WHEN (OLD.manifest IS NOT NULL) EXECUTE FUNCTION refuse_change();
ALTER TABLE forecasts
    ADD CONSTRAINT forecasts_uid_check CHECK (uid BETWEEN 0 AND 65535) NOT VALID,
    ADD CONSTRAINT forecasts_attempts_check CHECK (attempts >= 0) NOT VALID,
    ADD CONSTRAINT forecasts_run_id_uid_key UNIQUE (run_id, uid);

-- Scores and what they were made from are written once; score_table is derived from them.
CREATE TRIGGER component_scores_are_kept BEFORE UPDATE OR DELETE ON component_scores
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER lead_scores_are_kept BEFORE UPDATE OR DELETE ON lead_scores
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER lead_inputs_are_kept BEFORE UPDATE OR DELETE ON lead_inputs
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER weight_inputs_are_kept BEFORE UPDATE OR DELETE ON weight_inputs
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- NaN is greater than infinity here, so a measure below infinity is a number.
ALTER TABLE component_scores
    ADD CONSTRAINT component_scores_lead_check CHECK (lead_hours BETWEEN 1 AND 1000) NOT VALID,
    ADD CONSTRAINT component_scores_rule_set_check CHECK (rule_set ~ '^gaia-[a-z0-9.]+$') NOT VALID,
    ADD CONSTRAINT component_scores_errors_check CHECK (
        rmse >= 0 AND rmse < 'infinity' AND mse >= 0 AND mse < 'infinity' AND mae >= 0 AND mae < 'infinity'
        AND bias > '-infinity' AND bias < 'infinity') NOT VALID;
ALTER TABLE lead_scores
    ADD CONSTRAINT lead_scores_lead_check CHECK (lead_hours BETWEEN 1 AND 1000) NOT VALID,
    ADD CONSTRAINT lead_scores_rule_set_check CHECK (rule_set ~ '^gaia-[a-z0-9.]+$') NOT VALID,
    -- A lead that was given up for all miners is no number, and says why.
    ADD CONSTRAINT lead_scores_score_check
        CHECK (score BETWEEN -1 AND 1 OR (score = 'NaN' AND reason IS NOT NULL)) NOT VALID;
ALTER TABLE score_table
    ADD CONSTRAINT score_table_rule_set_check CHECK (rule_set ~ '^gaia-[a-z0-9.]+$') NOT VALID,
    ADD CONSTRAINT score_table_overall_check CHECK (overall BETWEEN -1 AND 1) NOT VALID,
    ADD CONSTRAINT score_table_day1_check CHECK (day1 BETWEEN -1 AND 1) NOT VALID;

-- A vector stays what was promised. A set one that is found to be on chain no more loses its block with its state.
CREATE TRIGGER weight_journal_is_kept BEFORE DELETE ON weight_journal FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER weight_journal_stays_what_it_is
    BEFORE UPDATE OF netuid, mechid, epoch, rule_set, vector, vector_sha256, weights, run_ids, completed_ids,
                     intended_at, inputs, promised_block ON weight_journal
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER weight_journal_keeps_what_was_committed
    BEFORE UPDATE OF sealed, reveal_round, commit_epoch, reveal_epoch ON weight_journal
    FOR EACH ROW WHEN (OLD.state NOT IN ('intended', 'failed')) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER weight_journal_moves_forward BEFORE UPDATE OF state ON weight_journal
    FOR EACH ROW WHEN (OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
        ('intended', 'set'), ('intended', 'failed'), ('intended', 'lost'), ('intended', 'committed'),
        ('intended', 'revealed'),
        ('failed', 'set'), ('failed', 'lost'), ('failed', 'committed'), ('failed', 'revealed'),
        ('set', 'failed'),
        ('committed', 'failed'), ('committed', 'revealed'), ('committed', 'lost')))
    EXECUTE FUNCTION refuse_transition();
ALTER TABLE weight_journal
    ADD CONSTRAINT weight_journal_block_check CHECK ((state IN ('set', 'revealed')) = (block IS NOT NULL)) NOT VALID;
ALTER TABLE consensus_epochs
    ADD CONSTRAINT consensus_epochs_range_check CHECK (
        validator_trust BETWEEN 0 AND 1 AND dividends BETWEEN 0 AND 1
        AND emission >= 0 AND emission < 'infinity') NOT VALID;
