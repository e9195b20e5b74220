"""Trees, forests and boosted trees of scikit-learn as ONNX, exactly: skl2onnx's own converters round their leaves.

ONNX's tree ensembles add float32. So trees only find their leaf here, by its number, which a float32 has exactly up to
2^24; the leaves' values are a table of float64 that is gathered from and added up, in the order of the trees.
scikit-learn compares inputs that it rounded to float32 with float64 thresholds: x <= t is x <= t rounded down to
float32 for every float32 x.

Source: scikit-learn's sklearn/ensemble/_forest.py and sklearn/tree/_classes.py (predict, predict_proba), _gb.py.
"""

from __future__ import annotations

from typing import Any

OWN = "proa_"
"""How nodes begin that are made here, which round where the library does."""
_MAX_LEAVES = 1 << 24
_MAX_WORK = 100_000
"""Trees times outputs: a row's values on their way to the sum."""


class NotEqual(Exception):
    """There is no equal ONNX model: why."""


def register() -> None:
    """Have skl2onnx convert trees, forests and boosted trees by this file."""
    from skl2onnx import update_registered_converter
    from sklearn import ensemble, tree

    options = {
        "zipmap": [True, False, "columns"],
        "nocl": [True, False],
        "output_class_labels": [False, True],
    }
    for kind, convert in (
        (tree.DecisionTreeClassifier, _convert_forest),
        (tree.ExtraTreeClassifier, _convert_forest),
        (ensemble.RandomForestClassifier, _convert_forest),
        (ensemble.ExtraTreesClassifier, _convert_forest),
        (ensemble.GradientBoostingClassifier, _convert_boosted),
        (tree.DecisionTreeRegressor, _convert_forest),
        (tree.ExtraTreeRegressor, _convert_forest),
        (ensemble.RandomForestRegressor, _convert_forest),
        (ensemble.ExtraTreesRegressor, _convert_forest),
        (ensemble.GradientBoostingRegressor, _convert_boosted),
    ):
        is_classifier = kind.__name__.endswith("Classifier")
        describe = _describe_classifier if is_classifier else _describe_regressor
        chosen = options if is_classifier else None
        update_registered_converter(
            kind, f"Proa{kind.__name__}", describe, convert, overwrite=True, options=chosen
        )


def _describe_classifier(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType

    labels = operator.raw_operator.classes_
    if not hasattr(labels, "dtype") or labels.dtype.kind not in "iuUO":
        raise NotEqual("its classes are neither whole numbers nor texts, or it has several outputs")
    operator.outputs[0].type = (StringTensorType if labels.dtype.kind in "UO" else Int64TensorType)([None])
    operator.outputs[1].type = DoubleTensorType([None, len(labels)])


def _describe_regressor(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    operator.outputs[0].type = DoubleTensorType([None, int(getattr(operator.raw_operator, "n_outputs_", 1))])


def _convert_forest(scope: Any, operator: Any, container: Any) -> None:
    """The mean of the trees: of a classifier their shares of each class."""
    estimator, graph = operator.raw_operator, _Graph(scope, container)
    members = [member.tree_ for member in getattr(estimator, "estimators_", [estimator])]
    is_classifier = len(operator.outputs) > 1
    width = len(estimator.classes_) if is_classifier else int(estimator.n_outputs_)
    leaves = [_find_values(tree, width) for tree in members]
    sums = graph.add_leaves(operator.inputs[0].full_name, members, leaves)
    mean = operator.outputs[-1].full_name
    graph.add("Div", [sums, graph.add_double([float(len(members))])], mean, 14)
    if is_classifier:
        graph.add_labels(mean, estimator.classes_, operator.outputs[0].full_name)


def _convert_boosted(scope: Any, operator: Any, container: Any) -> None:
    """What it begins with, and the sum of the trees of each class times the learning rate."""
    import numpy

    estimator, graph = operator.raw_operator, _Graph(scope, container)
    is_classifier = len(operator.outputs) > 1
    if (estimator.init_ != "zero" and not type(estimator.init_).__name__.startswith("Dummy")) or (
        is_classifier and estimator.loss != "log_loss"
    ):
        raise NotEqual("it begins with an estimator of its own, or has another loss than log_loss")
    members, leaves = [], []
    classes = estimator.estimators_.shape[1]
    for stage in estimator.estimators_:
        for number, member in enumerate(stage):
            values = numpy.zeros((member.tree_.node_count, classes))
            values[:, number] = _find_values(member.tree_, 1)[:, 0] * estimator.learning_rate
            members.append(member.tree_)
            leaves.append(values)
    sums = graph.add_leaves(operator.inputs[0].full_name, members, leaves)
    start = numpy.asarray(estimator._raw_predict_init(numpy.zeros((1, estimator.n_features_in_))))
    begun = graph.add_double(start.ravel().tolist())
    if not is_classifier:
        graph.add("Add", [sums, begun], operator.outputs[0].full_name, 14)
        return
    label, probabilities = (output.full_name for output in operator.outputs)
    raw = graph.add("Add", [sums, begun], "", 14)
    if classes > 1:
        graph.add("Softmax", [raw], probabilities, 13, axis=1)
        graph.add_labels(raw, estimator.classes_, label)
        return
    likely = graph.add("Sigmoid", [raw], "", 13)
    unlikely = graph.add("Sub", [graph.add_double([1.0]), likely], "", 14)
    graph.add("Concat", [unlikely, likely], probabilities, 13, axis=1)
    # at 0, which is neither, the library says the second
    zero = graph.add("Sub", [raw, raw], "", 14)
    signs = graph.add("Concat", [zero, raw], "", 13, axis=1)
    graph.add_labels(signs, estimator.classes_, label, takes_last=True)


class _Graph:
    """Adds nodes and constants to the container of a converter, each under a name that says that it is of here."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope, self._container = scope, container

    def add(self, kind: str, inputs: list[str], output: str, op_version: int, **attributes: Any) -> str:
        """Add a node, return its output's name; "" has one made."""
        output = output or self._name(kind.lower())
        name = self._name(kind.lower())
        self._container.add_node(kind, inputs, [output], name=name, op_version=op_version, **attributes)
        return output

    def add_constant(self, kind: int, shape: list[int], values: list[Any]) -> str:
        """Add a constant, return its name."""
        name = self._name("constant")
        self._container.add_initializer(name, kind, shape, values)
        return name

    def add_double(self, values: list[float]) -> str:
        """Add a row of float64."""
        from onnx import TensorProto

        return self.add_constant(TensorProto.DOUBLE, [len(values)], values)

    def add_leaves(self, rows: str, trees: list[Any], values: list[Any]) -> str:
        """Add nodes that find each tree's leaf and sum up its values, float64[nodes, width]; return the sums' name."""
        import numpy
        from onnx import TensorProto

        width = values[0].shape[1]
        if len(trees) * width > _MAX_WORK:
            raise NotEqual(f"it has {len(trees)} trees of {width} outputs")
        attributes, table, offsets = _read_trees(trees, values)
        narrow = self.add("Cast", [rows], "", 13, to=TensorProto.FLOAT)
        found = self.add(
            "TreeEnsembleRegressor",
            [narrow],
            "",
            1,
            op_domain="ai.onnx.ml",
            n_targets=len(trees),
            aggregate_function="SUM",
            post_transform="NONE",
            **attributes,
        )
        whole = self.add("Cast", [found], "", 13, to=TensorProto.INT64)
        offset = self.add_constant(TensorProto.INT64, [len(trees)], offsets)
        placed = self.add("Add", [whole, offset], "", 14)
        leaves = self.add_constant(TensorProto.DOUBLE, list(table.shape), numpy.ravel(table).tolist())
        gathered = self.add("Gather", [leaves, placed], "", 13, axis=0)
        axes = self.add_constant(TensorProto.INT64, [1], [1])
        return self.add("ReduceSum", [gathered, axes], "", 13, keepdims=0)

    def add_labels(self, scores: str, labels: Any, output: str, *, takes_last: bool = False) -> None:
        """Add nodes that write the label of the highest score of each row, of equal ones the first."""
        from onnx import TensorProto

        best = self.add("ArgMax", [scores], "", 13, axis=1, keepdims=0, select_last_index=int(takes_last))
        if labels.dtype.kind in "UO":
            table = self.add_constant(
                TensorProto.STRING, [len(labels)], [str(one).encode() for one in labels]
            )
        else:
            table = self.add_constant(TensorProto.INT64, [len(labels)], [int(one) for one in labels])
        self.add("Gather", [table, best], output, 13, axis=0)

    def _name(self, part: str) -> str:
        found: str = self._scope.get_unique_variable_name(f"{OWN}{part}")
        return found


def _find_values(tree: Any, width: int) -> Any:
    """Return float64[nodes, width], what each node says."""
    values = tree.value.reshape(tree.node_count, -1)
    if values.shape[1] != width:
        raise NotEqual(f"its leaves have {values.shape[1]} values, not {width}")
    return values


def _read_trees(trees: list[Any], values: list[Any]) -> tuple[dict[str, Any], Any, list[int]]:
    """Return the arrays that TreeEnsembleRegressor has, the values of all leaves, and where those of each tree begin.

    A leaf's weight is its number among the leaves of its tree, and its target is the tree.
    """
    import numpy

    columns: dict[str, list[Any]] = {}
    tables, offsets, offset = [], [], 0
    for number, (tree, table) in enumerate(zip(trees, values, strict=True)):
        is_leaf = tree.children_left == -1
        leaves = numpy.flatnonzero(is_leaf)
        for name, found in (
            ("nodes_treeids", numpy.full(tree.node_count, number)),
            ("nodes_nodeids", numpy.arange(tree.node_count)),
            ("nodes_featureids", numpy.where(is_leaf, 0, tree.feature)),
            ("nodes_values", _round_down(numpy.where(is_leaf, 0.0, tree.threshold))),
            ("nodes_modes", numpy.where(is_leaf, "LEAF", "BRANCH_LEQ")),
            ("nodes_truenodeids", numpy.where(is_leaf, 0, tree.children_left)),
            ("nodes_falsenodeids", numpy.where(is_leaf, 0, tree.children_right)),
            ("nodes_missing_value_tracks_true", _find_ways_of_gaps(tree, is_leaf)),
            ("target_treeids", numpy.full(len(leaves), number)),
            ("target_nodeids", leaves),
            ("target_ids", numpy.full(len(leaves), number)),
            ("target_weights", numpy.arange(len(leaves), dtype=float)),
        ):
            columns.setdefault(name, []).extend(found.tolist())
        tables.append(table[leaves])
        offsets.append(offset)
        offset += len(leaves)
    if offset > _MAX_LEAVES:
        raise NotEqual(f"it has {offset} leaves")
    return columns, numpy.vstack(tables).astype(numpy.float64), offsets


def _find_ways_of_gaps(tree: Any, is_leaf: Any) -> Any:
    """Return 1 for each node that sends NaN to the left."""
    import numpy

    ways = getattr(tree, "missing_go_to_left", numpy.zeros(tree.node_count, dtype=numpy.uint8))
    return numpy.where(is_leaf, 0, ways).astype(int)


def _round_down(values: Any) -> Any:
    """Return the largest float32 that is no larger than each of the float64 values."""
    import numpy

    narrow = values.astype(numpy.float32)
    below = numpy.nextafter(narrow, numpy.float32(-numpy.inf))
    return numpy.where(narrow.astype(numpy.float64) > values, below, narrow)
