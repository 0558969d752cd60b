"""Buses: how processes on one store wake each other."""
