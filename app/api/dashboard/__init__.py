"""The dashboard: a page for operators, its login, and its calls below `/dashboard/api`."""
