"""SQL of users' machines. Columns are in the order `workers._worker` reads them."""

_COLUMNS = "id, user_id, machine, generation, readiness, registered_at, seen_at, load, held"

REGISTER = f"""
INSERT INTO workers (id, user_id, instance_id, machine, generation, readiness, registered_at, seen_at, load)
VALUES (:id, :user_id, :instance_id, :machine, 1, 'active', :now, :now, '{{}}')
ON CONFLICT (user_id, instance_id) DO UPDATE SET
    machine = excluded.machine, generation = workers.generation + 1, readiness = 'active', seen_at = :now, held = 0
RETURNING {_COLUMNS}
"""  # noqa: S608 - a constant of this module

GET = f"SELECT {_COLUMNS} FROM workers WHERE id = :id"  # noqa: S608 - as above

FIND = f"""
SELECT {_COLUMNS} FROM workers WHERE CAST(:user_id AS TEXT) IS NULL OR user_id = :user_id ORDER BY id
"""  # noqa: S608 - as above

HEAR = f"""
UPDATE workers SET seen_at = :now, load = :load, held = :held WHERE id = :id AND generation = :generation
RETURNING {_COLUMNS}
"""  # noqa: S608 - as above

SET_READINESS = f"UPDATE workers SET readiness = :readiness WHERE id = :id RETURNING {_COLUMNS}"  # noqa: S608 - as above

REMOVE = "DELETE FROM workers WHERE id = :id"
