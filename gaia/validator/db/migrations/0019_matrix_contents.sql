-- Gram matrices beside their names, so that a validator with another data folder has them.

-- What the file holds; NULL: only the file of the validator that made it.
ALTER TABLE gram_matrices ADD COLUMN content bytea;
-- Numbers that a compression would not shrink.
ALTER TABLE gram_matrices ALTER COLUMN content SET STORAGE EXTERNAL;
