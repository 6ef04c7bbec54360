"""What varies from one clip of an invented sign to the next, and by how much: the one table.

A pair is a range; values between are equally likely unless said otherwise. A share is of clips.
Lengths are pixels of a 240x320 picture of a signer who fills it as in the toy data set.
"""

# From person to person, besides what `signer.RANGES` says.
PERSON_SPEED = (0.8, 1.25)  # of the usual
PERSON_AMPLITUDE = (0.85, 1.15)
HAND_SIZE = (1.1, 1.5)  # of the toy signers', whose hands are small
RIGHT_HANDED_SHARE = 0.9
LIKE_SKIN_SHARE = 0.25  # of people, whose shirt may be of any colour, that of their skin too

# From one performance of a sign to the next.
PACE = (0.45, 0.95)  # of a movement's seconds
AMPLITUDE = (0.85, 1.18)
OTHER_HAND_SHARE = 0.05  # signed with the other hand
IDLE_HAND_SHARE = 0.1  # of one-handed signs: the other hand is held up
PLACE_STD_PX = 3.0  # of where a movement begins and ends
TURN_DEGREES = (-9, 9)
LENGTH = (0.88, 1.14)  # of a movement
BEND_STD_DEGREES = 10
ONE_MORE_SHARE = 0.25  # of repeated movements: once more or less often
PAUSE_SHARE, PAUSE_SECONDS = 0.5, (0.03, 0.15)  # between movements
END_SECONDS = (0.03, 0.3)  # that the last movement is held
SECOND_HAND_LAG_SECONDS = (0.0, 0.04)
WOBBLE_PX, WOBBLE_HZ = (0.4, 2.0), (0.2, 0.9)  # of hands
SWAY_PX, SWAY_HZ = (0.3, 3.0), (0.1, 0.6)  # of the body
HEAD_TILT_DEGREES = (1.0, 7.0)

# Before and after the sign.
STILL_SECONDS = (-0.4, 0.9)  # with hands down, at each end; below 0 is none
RAISE_SECONDS, LOWER_SECONDS = (0.22, 0.55), (0.25, 0.6)
BULGE_PX = (-4, 16)  # of the way up, outwards and towards the camera
LAP_SHARE, LAP_X_PX, LAP_Y_PX = 0.45, (4, 26), (78, 112)  # hands rest in the lap, not at the hips
CUT_SHARE = 0.45  # at each end: the clip begins or ends while the hands move up or down
LONGEST_SECONDS = 5.0

# The camera.
FRAME_RATES = {30: 0.55, 25: 0.2, 15: 0.15, 10: 0.1}  # frames a second: share
FEWEST_FRAMES = 10
SCALE = (0.8, 1.9)  # equally likely in its logarithm: from afar to a portrait
HEAD_TOP_PX = (2, 60)  # from the upper edge to the hair
OFF_CENTRE_STD_PX = 14
HANDS_IN_VIEW_SHARE = 0.9
SHAKY_SHARE, SHAKY_PX, STEADY_PX, SHAKE_HZ = 0.3, (0.3, 2.0), (0.0, 0.05), (0.3, 2.5)
EXPOSURE_SECONDS = (0.0, 0.035)
GAIN, GAMMA, TINT = (0.7, 1.25), (0.75, 1.35), (0.9, 1.1)  # of the light; tint of each colour
FLICKER = (0.0, 0.01)
NOISE_STD = (0.3, 2.5)  # gray levels of a stored pixel

# What else is to be seen.
PLAIN_WALL_SHARE = 0.4  # else one of `scene.BACKGROUNDS`
WALL_LIKE_PERSON_SHARE = 0.15  # of plain walls: nearly the colour of skin or shirt
DESK_SHARE, DESK_TOP_PX = 0.25, (175, 235)  # from the upper edge of the picture
PASSER_BY_SHARE, PASSER_BY_SECONDS = 0.08, (1.0, 3.0)  # somebody walks past behind
