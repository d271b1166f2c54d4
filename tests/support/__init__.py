"""What the tests share: a clock that is moved by hand, PostgreSQL servers, clones of a template database."""
