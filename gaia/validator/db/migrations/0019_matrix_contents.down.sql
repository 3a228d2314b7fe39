-- An earlier release reads the files, which the validator that made them still has.
ALTER TABLE gram_matrices DROP COLUMN content;
