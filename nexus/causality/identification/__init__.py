"""Can this effect be computed from these data: adjustment, front-door, instruments, the complete ID and IDC."""
