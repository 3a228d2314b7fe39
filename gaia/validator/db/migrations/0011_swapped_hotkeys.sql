-- Miners that swapped their hotkey while a run was open.

ALTER TABLE forecasts ADD COLUMN signed_by text;   -- who signed the manifest; NULL: hotkey
