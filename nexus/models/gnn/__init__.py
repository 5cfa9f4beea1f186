"""Graph neural networks: section 14 of the zoo, with the graph they work on, encodings and sampling.

from nexus.models.gnn import GPS, Graph, GraphSAGE, NeighborSampler, random_walk_encoding
"""

from nexus.data.graph import Graph
from nexus.models.gnn._encodings import laplacian_encoding, random_walk_encoding
from nexus.models.gnn._sampling import NeighborSampler, Sample
from nexus.models.gnn.base_gnn import BaseGNN, BaseGNNConfig
from nexus.models.gnn.exphormer import Exphormer, ExphormerConfig, with_expander
from nexus.models.gnn.gatv2 import GATv2, GATv2Config
from nexus.models.gnn.gps import GPS, GPSConfig
from nexus.models.gnn.graph_sage import GraphSAGE, GraphSAGEConfig
from nexus.models.gnn.message_passing import AdaptiveMessagePassing, AdaptiveMessagePassingConfig

__all__ = [
    "GPS",
    "AdaptiveMessagePassing",
    "AdaptiveMessagePassingConfig",
    "BaseGNN",
    "BaseGNNConfig",
    "Exphormer",
    "ExphormerConfig",
    "GATv2",
    "GATv2Config",
    "GPSConfig",
    "Graph",
    "GraphSAGE",
    "GraphSAGEConfig",
    "NeighborSampler",
    "Sample",
    "laplacian_encoding",
    "random_walk_encoding",
    "with_expander",
]
