"""Draws one clip: scene, gesture and signer together."""

import random

import cv2
import numpy as np

from toy import gesture, scene, signer
from toy.drawing import draw_depth, draw_signer


def render_clip(sign, signer_seed, clip_seed):
    """Draws one clip.

    Args:
        sign: one of `gesture.SIGNS`.
        signer_seed: number or text; who performs.
        clip_seed: number or text; how it is performed, and where.

    Returns:
        colour, uint8 BGR `(num_frames, 240, 320, 3)`, and depth, uint8 `(num_frames, 240, 320)`,
        lighter where nearer; 40 to 50 frames, `scene.FRAMES_PER_SECOND`.
    """
    person = signer.invent_signer(random.Random(signer_seed))
    rng = random.Random(clip_seed)
    motion = gesture.perform(sign, person, rng)
    joints = signer.arm_joints(person, motion.wrists)
    camera = scene.place_camera(len(joints), rng)
    wall = scene.paint_background(rng)
    drawing = np.empty_like(wall)
    size = (scene.WIDTH_PX, scene.HEIGHT_PX)
    colour = np.empty((len(joints), *size[::-1], 3), np.uint8)
    depth = np.empty((len(joints), *size[::-1]), np.uint8)
    depth[:] = scene.depth_wall()
    for frame, (arms, sway, tilt) in enumerate(
        zip(joints, motion.sway, motion.head_tilt, strict=True)
    ):
        np.copyto(drawing, wall)
        origin, zoom = camera.origin + camera.scale * sway, scene.SUPERSAMPLING
        canvas = scene.Canvas(drawing, zoom * origin, zoom * camera.scale)
        draw_signer(canvas, person, arms, tilt)
        picture = cv2.resize(drawing, size, interpolation=cv2.INTER_AREA)
        colour[frame] = camera.develop(picture, frame)
        canvas = scene.Canvas(depth[frame], origin, camera.scale)
        draw_depth(canvas, person, arms, tilt)
    return colour, depth
