"""Finds groups among good images: products, lights, cameras, turned parts and drift over time."""

from automl_ad.data.groups.finding import find_groups

__all__ = ["find_groups"]
