"""`tools board`: a folder of results as a map in the browser, to listen to, to label and to teach from."""
