"""phonebench: measure how a model runs on real phones, and know how sure the answer is."""
