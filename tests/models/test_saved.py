import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KNOWN = "import keras, covbench.models.saved; print(*keras.saving.get_custom_objects())"
REGISTERED = re.compile(r'register_keras_serializable\("covbench"\)\nclass (\w+)\((?:keras\.)?layers\.Layer')


def test_the_layers_of_every_saved_network_are_known_where_networks_are_loaded():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src/covbench/models").rglob("*.py")]
    layers = {f"covbench>{name}" for source in sources for name in REGISTERED.findall(source)}
    assert "covbench>BackgroundOrLesion" in layers
    said = subprocess.run([sys.executable, "-c", KNOWN], check=True, capture_output=True, text=True).stdout
    assert layers <= set(said.split())
