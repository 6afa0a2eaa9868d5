"""A picture of a town from above."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from fleetloop.core.types import METRES_PER_PIXEL, TILE_M, TILE_PIXELS, Surface, World

_LANE_COLOURS = ((80, 200, 255), (255, 120, 220), (255, 140, 60), (120, 255, 120), (255, 255, 90))
"""Of centre lines, by LaneKind."""

_COLOURS = np.zeros((256, 3), np.uint8)
_COLOURS[Surface.GRASS] = (96, 122, 74)
_COLOURS[Surface.ASPHALT] = (70, 70, 74)
_COLOURS[Surface.WHITE_LINE] = (235, 235, 235)
_COLOURS[Surface.YELLOW_LINE] = (226, 190, 60)
_COLOURS[Surface.SIDEWALK] = (150, 148, 144)
_COLOURS[Surface.CROSSING] = (215, 215, 215)
_COLOURS[Surface.STOP_LINE] = (250, 250, 250)
_COLOURS[Surface.CURB] = (112, 110, 106)
_COLOURS[Surface.PARKING] = (84, 84, 96)
_COLOURS[Surface.BUS_LANE] = (120, 62, 56)
_COLOURS[Surface.JUNCTION] = (78, 78, 82)


def map_image(
    world: World, town: int, metres_per_pixel: float, lanes: bool = False, boxes: bool = True
) -> UInt8[np.ndarray, "height width 3"]:
    """The town from above, north up, as RGB; with centre lines if `lanes`, with static boxes if `boxes`.

    A pixel shows the ground at its centre; `metres_per_pixel` is at least that of the ground (0.1).
    """
    rows, columns = (int(number) for number in world.town_tiles_shape[town])
    height, width = (max(1, int(number * TILE_M / metres_per_pixel)) for number in (rows, columns))
    first = int(world.town_first_tile[town])
    index = world.tile_index[first : first + rows * columns].reshape(rows, columns)
    row_pixel = ((np.arange(height) + 0.5) * metres_per_pixel / METRES_PER_PIXEL).astype(int)
    column_pixel = ((np.arange(width) + 0.5) * metres_per_pixel / METRES_PER_PIXEL).astype(int)
    row_pixel = np.minimum(row_pixel, rows * TILE_PIXELS - 1)
    column_pixel = np.minimum(column_pixel, columns * TILE_PIXELS - 1)
    tile = index[row_pixel[:, None] // TILE_PIXELS, column_pixel[None, :] // TILE_PIXELS]
    surface = world.tiles[tile, row_pixel[:, None] % TILE_PIXELS, column_pixel[None, :] % TILE_PIXELS]
    image = Image.fromarray(_COLOURS[surface])
    draw = ImageDraw.Draw(image)

    def pixels(points: np.ndarray) -> list[tuple[float, float]]:
        return [tuple(point) for point in (points - world.town_origin_m[town]) / metres_per_pixel]

    if boxes:
        for box in _town_boxes(world, town):
            x, y, _, yaw, length, breadth = box[:6]
            along, across = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
            signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])
            corners = np.array([x, y]) + signs[:, :1] * length * along + signs[:, 1:] * breadth * across
            draw.polygon(pixels(corners), fill=tuple(int(channel) for channel in box[7:10]))
    if lanes:
        for lane in range(world.town_first_lane[town], world.town_first_lane[town + 1]):
            start = int(world.lane_first_point[lane])
            points = world.points[start : start + int(world.lane_point_count[lane])]
            colour = _LANE_COLOURS[int(world.lane_kind[lane])]
            draw.line(pixels(points), fill=colour)
    return np.asarray(image)[::-1].copy()


def _town_boxes(world: World, town: int) -> np.ndarray:
    first = int(world.town_first_cell[town])
    cells = int(np.prod(world.town_cells_shape[town]))
    boxes = world.boxes[world.cell_start[first] : world.cell_start[first + cells]]
    return boxes[np.argsort(boxes[:, 2] + boxes[:, 6], kind="stable")]
