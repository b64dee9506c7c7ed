"""`analyze`: recordings and folders of them → results, a table, a journal to go on from."""
