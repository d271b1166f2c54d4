-- A lease that has ended is doubted before its job is given to somebody else: a clock that steps forward ends every lease at
-- once, while those who hold them are at work.
ALTER TABLE jobs ADD COLUMN lease_doubted boolean NOT NULL DEFAULT false;
