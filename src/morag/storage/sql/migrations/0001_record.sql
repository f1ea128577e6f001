-- The task record, its attempts and log, the fair shares of the lanes, and the documents that search sees.
-- Flags are 0 or 1, JSON is TEXT, times are seconds since the epoch; `lease_until` is on the monotonic clock of `lease_boot`.

CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    user_id TEXT NOT NULL,
    lane TEXT NOT NULL,
    content_type TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('pending', 'running', 'waiting', 'completed', 'failed', 'timeout', 'cancelled')),
    args TEXT NOT NULL,
    options TEXT NOT NULL,
    routing TEXT NOT NULL,
    priority INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    processing_budget INTEGER NOT NULL,
    infrastructure_budget INTEGER NOT NULL,
    deadline_s REAL NOT NULL,
    waiting_s REAL,
    timeout_s REAL,
    parent_id TEXT,
    step TEXT,
    open_children INTEGER NOT NULL DEFAULT 0,
    retry_of TEXT,
    batch_id TEXT,
    needs_attention INTEGER NOT NULL DEFAULT 0,
    idempotency_key TEXT,
    idempotency_digest TEXT,
    reserved_document_id TEXT,
    source_bytes INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    ready_at REAL NOT NULL,
    due_at REAL,
    started_at REAL,
    finished_at REAL,
    attempt INTEGER NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0,
    processing_failures INTEGER NOT NULL DEFAULT 0,
    infrastructure_losses INTEGER NOT NULL DEFAULT 0,
    is_ready INTEGER NOT NULL,
    lapsed INTEGER NOT NULL DEFAULT 0,
    claim_id TEXT,
    worker_id TEXT,
    worker_boot TEXT,
    worker_pid INTEGER,
    worker_pid_started REAL,
    lease_s REAL,
    lease_boot TEXT,
    lease_until REAL,
    progress TEXT,
    result TEXT,
    result_blob TEXT,
    failure TEXT,
    CHECK (is_ready = 0 OR state = 'pending'),
    CHECK (lapsed = 0 OR state = 'pending')
);

-- What a claim walks: the heads of each kind of work of one user, in order; wide enough for positions and lane reports.
CREATE INDEX tasks_ready ON tasks (lane, namespace, user_id, name, content_type, rank, id, ready_at) WHERE is_ready = 1;
CREATE INDEX tasks_timer ON tasks (ready_at) WHERE state = 'pending' AND is_ready = 0;
CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_running ON tasks (claim_id) WHERE state = 'running';
CREATE INDEX tasks_lapsed ON tasks (lane) WHERE lapsed = 1;
CREATE INDEX tasks_waiting ON tasks (id) WHERE state = 'waiting';
CREATE UNIQUE INDEX tasks_step ON tasks (parent_id, step) WHERE parent_id IS NOT NULL;
CREATE INDEX tasks_root ON tasks (user_id, id) WHERE parent_id IS NULL;
CREATE INDEX tasks_ended ON tasks (finished_at) WHERE parent_id IS NULL AND finished_at IS NOT NULL;
CREATE INDEX tasks_key ON tasks (user_id, idempotency_key, created_at) WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_reservation ON tasks (user_id, reserved_document_id)
    WHERE reserved_document_id IS NOT NULL AND finished_at IS NULL;

-- The columns of the public record, in the order `records.task` reads them.
CREATE VIEW records AS
SELECT
    id, namespace, name, user_id, state, args, options, routing, priority,
    processing_budget, infrastructure_budget, deadline_s, waiting_s, timeout_s,
    parent_id, step, open_children, retry_of, batch_id, needs_attention,
    created_at, ready_at, started_at, finished_at, attempt, fence,
    processing_failures, infrastructure_losses, worker_id, progress, result, result_blob, failure
FROM tasks;

CREATE TABLE attempts (
    task_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    worker_id TEXT NOT NULL,
    lane TEXT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL,
    outcome TEXT,
    failure TEXT,
    decision TEXT,
    digest TEXT,
    PRIMARY KEY (task_id, n)
);

CREATE TABLE events (
    task_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (task_id, seq)
) WITHOUT ROWID;

CREATE TABLE task_blobs (
    task_id TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (task_id, sha256)
) WITHOUT ROWID;
CREATE INDEX task_blobs_sha256 ON task_blobs (sha256);

-- Stride scheduling: what each user was charged in a lane, and at which of the lane's grants last. `is_active` may be stale upwards; a claim that finds nothing clears it.
CREATE TABLE shares (
    lane TEXT NOT NULL,
    namespace TEXT NOT NULL,
    user_id TEXT NOT NULL,
    pass REAL NOT NULL DEFAULT 0,
    last_grant INTEGER NOT NULL DEFAULT 0,
    is_active INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (lane, namespace, user_id)
) WITHOUT ROWID;
CREATE INDEX shares_active ON shares (lane, namespace, pass, last_grant, user_id) WHERE is_active = 1;

CREATE TABLE floors (
    lane TEXT NOT NULL,
    namespace TEXT NOT NULL,
    floor REAL NOT NULL,
    grants INTEGER NOT NULL,
    PRIMARY KEY (lane, namespace)
) WITHOUT ROWID;

CREATE TABLE documents (
    user_id TEXT NOT NULL,
    document_id TEXT NOT NULL,
    title TEXT NOT NULL,
    source TEXT NOT NULL,
    content_type TEXT NOT NULL,
    media_type TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    options_digest TEXT NOT NULL,
    metadata TEXT NOT NULL,
    chunks INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    document_blob TEXT NOT NULL,
    original_blob TEXT,
    chunking TEXT NOT NULL,
    task_id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    PRIMARY KEY (user_id, document_id)
);
CREATE INDEX documents_content ON documents (content_hash, options_digest, user_id);
CREATE INDEX documents_document_blob ON documents (document_blob);
CREATE INDEX documents_original_blob ON documents (original_blob) WHERE original_blob IS NOT NULL;

-- The columns in the order `records.document` reads them.
CREATE VIEW document_records AS
SELECT
    user_id, document_id, title, source, content_type, media_type, content_hash, options_digest, metadata, chunks,
    size_bytes, document_blob, original_blob, chunking, task_id, fence, created_at, updated_at
FROM documents;

CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
