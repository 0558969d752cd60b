"""The native API: task, flow, dag, asset and what goes with them. Lowers to `plait.model.graph`; runs nothing by
itself."""
