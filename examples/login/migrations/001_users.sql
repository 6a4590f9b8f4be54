CREATE TABLE users (
	username         TEXT PRIMARY KEY COLLATE NOCASE,
	name             TEXT NOT NULL,
	password_hash    TEXT NOT NULL,
	password_version INTEGER NOT NULL DEFAULT 1, -- counts password changes; a session keeps the one it began with
	created_at       INTEGER NOT NULL            -- seconds since 1970
) STRICT;
