"""Which candidate wins: ranking, hold-out check, lead models, decision and a few real defects; knows no detector."""
