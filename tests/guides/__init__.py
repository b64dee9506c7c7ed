"""What people have already written against servers of this kind, as they would type it, against this one."""
