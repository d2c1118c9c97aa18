"""Geometry of an aggregate, as GeoJSON (RFC 7946)."""

from pydantic import BaseModel

try:
    from geojson_pydantic.geometries import Geometry
except ImportError as error:
    raise ImportError(
        'SpatialMixin needs geojson-pydantic: pip install "cqrs-ddd-core[geometry]"'
    ) from error


class SpatialMixin(BaseModel):
    """Geometry of an aggregate.

    Attributes:
        geometry: GeoJSON geometry in longitude and latitude (degrees, WGS 84).
    """

    geometry: Geometry | None = None
