-- Until when a manifest may be frozen, where our absence moved it; NULL: opened_at and the freeze window.
ALTER TABLE forecasts ADD COLUMN window_ends_at timestamptz;
