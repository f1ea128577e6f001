-- How long records and idempotency keys are kept goes by the store's steady time too; until now that was the wall clock.

ALTER TABLE tasks ADD COLUMN created_steady REAL;
ALTER TABLE tasks ADD COLUMN finished_steady REAL;
UPDATE tasks SET created_steady = created_at, finished_steady = finished_at;

DROP INDEX tasks_ended;
CREATE INDEX tasks_ended ON tasks (finished_steady) WHERE parent_id IS NULL AND finished_steady IS NOT NULL;
DROP INDEX tasks_key;
CREATE INDEX tasks_key ON tasks (user_id, idempotency_key, created_steady) WHERE idempotency_key IS NOT NULL;
