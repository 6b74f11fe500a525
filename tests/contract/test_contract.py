"""The contract suite on every backend."""

from streamadapter.testing import contract

globals().update(contract.scenarios())
