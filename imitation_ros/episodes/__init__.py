"""Episodes on disk: record, read, repair, inspect, and build training sets from them.

An episode is a rosbag2 folder with one MCAP file. `writer.py` writes it and `mcap_file.py`,
`reader.py` read it back; `align.py` makes frames of it and `training_set.py` many of them.
Imports no ROS.
"""
