"""The rules of validity, a module a subject: each row holds all the words of one key, and its question."""
