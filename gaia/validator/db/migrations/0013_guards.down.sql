-- Removes the guards; an earlier release works without them.

ALTER TABLE forecasts
    DROP CONSTRAINT forecasts_uid_check,
    DROP CONSTRAINT forecasts_attempts_check,
    DROP CONSTRAINT forecasts_run_id_uid_key;
ALTER TABLE component_scores
    DROP CONSTRAINT component_scores_lead_check,
    DROP CONSTRAINT component_scores_rule_set_check,
    DROP CONSTRAINT component_scores_errors_check;
ALTER TABLE lead_scores
    DROP CONSTRAINT lead_scores_lead_check,
    DROP CONSTRAINT lead_scores_rule_set_check,
    DROP CONSTRAINT lead_scores_score_check;
ALTER TABLE score_table
    DROP CONSTRAINT score_table_rule_set_check,
    DROP CONSTRAINT score_table_overall_check,
    DROP CONSTRAINT score_table_day1_check;
ALTER TABLE weight_journal DROP CONSTRAINT weight_journal_block_check;
ALTER TABLE consensus_epochs DROP CONSTRAINT consensus_epochs_range_check;
DROP FUNCTION refuse_change() CASCADE;
DROP FUNCTION refuse_transition() CASCADE;
DROP FUNCTION refuse_living_forecasts() CASCADE;
