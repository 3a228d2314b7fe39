-- Measures beyond those of the first rules; NULL: not defined, not asked for, or scored before.

ALTER TABLE component_scores
    ADD COLUMN error_sd          double precision,  -- standard deviation of the error
    ADD COLUMN acc_uncentred     double precision,
    ADD COLUMN skill_persistence double precision,
    ADD COLUMN skill_blend       double precision,  -- over the best blend of what is public
    ADD COLUMN activity          double precision,  -- how much it departs from climatology, of the truth's
    ADD COLUMN mse_climatology   double precision,  -- the references' own errors, the field's unit squared
    ADD COLUMN mse_gfs           double precision,
    ADD COLUMN mse_persistence   double precision,
    ADD COLUMN mse_blend         double precision;
