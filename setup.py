"""Package description for pip and for colcon (`ament_python`)."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = 'imitation_ros'
NODES = [
    'policy',
    'recorder',
    'reward_trainer',
    'sim_arm',
    'supervisor',
    'teleop_expert',
    'teleop_joy',
    'teleop_keyboard',
    'teleop_leader',
    'teleop_relay',
    'trainer',
]
MESSAGES = [
    'diagnostic',
    'geometry',
    'lifecycle',
    'nav',
    'rosgraph',
    'sensor',
    'std',
    'trajectory',
]


def files(folder: str, pattern: str) -> tuple[str, list[str]]:
    """Where a folder's files are installed, and which they are."""
    return f'share/{NAME}/{folder}', sorted(str(path) for path in Path(folder).glob(pattern))


setup(
    name=NAME,
    version='0.1.0',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['py.typed', 'nodes/_loopback.xml']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        files('config', '*.yaml'),
        files('config/contracts', '*.yaml'),
        files('config/controllers', '*.yaml'),
        files('config/security', '*.xml'),
        files('launch', '*.launch.py'),
    ],
    python_requires='>=3.10',
    install_requires=['setuptools', 'numpy', 'pillow', 'pydantic', 'PyYAML', 'rich'],
    extras_require={
        'bags': ['lz4', 'mcap', 'mcap-ros2-support', 'zstandard'],
        'learning': ['safetensors', 'stable-baselines3', 'threadpoolctl', 'torch'],
        'sim': ['gymnasium', 'imageio', 'matplotlib', 'pybullet'],
        # rclpy, Fast DDS and the messages as wheels, for machines without ROS.
        'ros': [
            'ros-kilted-rclpy',
            'ros-kilted-rmw-fastrtps-cpp',
            'ros-kilted-std-srvs',
            *(f'ros-kilted-{messages}-msgs' for messages in MESSAGES),
        ],
        'test': ['pytest'],  # makes colcon test call pytest
        'dev': [
            'colcon-common-extensions',
            'hypothesis',
            'imageio-ffmpeg',
            'mypy',
            'panda-gym',  # a task of others, for bench/irl_vs_peer.py
            'pytest',
            'pytest-cov',
            'pytest-timeout',
            'pytest-xdist',
            'rosbags',
            'ruff',
            'types-PyYAML',
        ],
    },
    entry_points={
        'console_scripts': [
            f'{NAME} = {NAME}.cli.__main__:main',
            *(f'{node} = {NAME}.nodes.{node}:main' for node in NODES),
        ],
    },
    zip_safe=False,
    maintainer='The imitation_ros maintainers',
    maintainer_email='maintainers@example.org',
    description='Teach a robot arm from demonstrations, over ROS 2 topics.',
    license='Apache-2.0',
)
