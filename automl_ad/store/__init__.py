"""What a study leaves behind: tables beside Optuna's in one database, and artifacts in a folder of the workspace."""
