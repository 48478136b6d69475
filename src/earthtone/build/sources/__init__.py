"""Where recordings come from: archives on the web, copies of them, and tables of one's own."""
