-- An earlier release does not ask who may write: stop all but one validator before.
DROP TABLE lease;
