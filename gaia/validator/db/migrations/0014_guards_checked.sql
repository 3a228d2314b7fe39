-- Rows of before keep the promises of migration 13, too; others write meanwhile.

ALTER TABLE forecasts
    VALIDATE CONSTRAINT forecasts_uid_check,
    VALIDATE CONSTRAINT forecasts_attempts_check;
ALTER TABLE component_scores
    VALIDATE CONSTRAINT component_scores_lead_check,
    VALIDATE CONSTRAINT component_scores_rule_set_check,
    VALIDATE CONSTRAINT component_scores_errors_check;
ALTER TABLE lead_scores
    VALIDATE CONSTRAINT lead_scores_lead_check,
    VALIDATE CONSTRAINT lead_scores_rule_set_check,
    VALIDATE CONSTRAINT lead_scores_score_check;
ALTER TABLE score_table
    VALIDATE CONSTRAINT score_table_rule_set_check,
    VALIDATE CONSTRAINT score_table_overall_check,
    VALIDATE CONSTRAINT score_table_day1_check;
ALTER TABLE weight_journal VALIDATE CONSTRAINT weight_journal_block_check;
ALTER TABLE consensus_epochs VALIDATE CONSTRAINT consensus_epochs_range_check;
