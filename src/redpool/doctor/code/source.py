"""A file of Python: its imports, its functions, which of them handle requests, and the clients that it makes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

# What makes a client or a pool: `redis.asyncio.Redis.from_url` and all the like.
_MAKERS = re.compile(
    r"(?P<family>redis|valkey|aioredis|redpool)\b(?P<inner>(\.[a-z_]+)*?)"
    r"\.(?P<name>(Strict)?(Redis|Valkey)(Cluster)?|(Blocking|Multiplexed)?ConnectionPool|Sentinel|create_redis(_pool)?)"
    r"(?P<way>\.from_url)?|(?P<family2>redis|valkey|aioredis|redpool)(?P<inner2>(\.[a-z_]+)*?)\.from_url"
)
# A call with one of these makes no pool of its own.
_GIVEN = {"connection_pool", "pool"}
_ROUTES = {
    "route", "get", "post", "put", "patch", "delete", "head", "options", "websocket", "api_route", "websocket_route",
}  # fmt: skip
_HANDLES = {
    "task", "shared_task", "actor", "job", "view_config", "api_view", "action", "view", "csrf_exempt", "login_required",
    "require_http_methods", "require_GET", "require_POST", "before_request", "after_request", "middleware",
}  # fmt: skip
_KEEPS = re.compile(r"cache|memo|singleton|fixture|once", re.IGNORECASE)
_VIEWS = re.compile(r"(View|ViewSet|Resource|RequestHandler|HTTPEndpoint|WebSocketEndpoint|Consumer)$")
_VERBS = {
    "get", "post", "put", "patch", "delete", "head", "options", "dispatch", "list", "create", "retrieve", "update",
    "destroy", "prepare", "receive", "receive_json", "on_receive", "on_get", "on_post", "on_put", "on_delete",
}  # fmt: skip
_MIDDLEWARE = {"__call__", "dispatch", "process_request", "process_response", "process_view", "before", "after"}
_REQUESTS = {"Request", "HttpRequest", "WebSocket", "HTTPConnection"}
# What belongs to one request: an attribute of it is as short-lived as it is.
_SHORT_LIVED = {"g", "request", "req", "ctx"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Made:
    """How a client or pool is made, as far as the code says."""

    call: str
    """as it stands there: `redis.Redis`"""
    family: str
    asynchronous: bool
    own_pool: bool
    """it makes a pool, instead of being given one"""
    size: int | None = None
    socket_timeout: float | None = None
    timeout_known: bool = True
    """`socket_timeout`, or that it is the default"""


@dataclass(eq=False, slots=True)
class Function:
    """A function or method. `on_request` is set as the calls from handlers are followed."""

    node: ast.FunctionDef | ast.AsyncFunctionDef
    name: str
    """`Class.method` or `function`"""
    class_name: str | None
    handles: bool
    """it handles requests or tasks by itself, or is called for each by the framework"""
    on_request: bool
    keeps: bool
    """its result is cached: it runs once"""
    assigned: dict[str, list[ast.expr]] | None = None
    """what it assigns each name, by `=` or `with`; found when it is asked for"""


@dataclass(eq=False, slots=True)
class Source:
    """A file, and what was found in it."""

    path: str
    tree: ast.Module
    lines: list[str]
    module: tuple[str, ...]
    """its dotted name, with as many of the folders above as were given"""
    imports: dict[str, str] = field(default_factory=dict)
    """what each imported name means, dotted in full"""
    functions: dict[str, Function] = field(default_factory=dict)
    by_node: dict[ast.AST, Function] = field(default_factory=dict)
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)
    calls: list[ast.Call] = field(default_factory=list)
    assignments: list[ast.Assign | ast.AnnAssign] = field(default_factory=list)
    clients: dict[str, Made] = field(default_factory=dict)
    """of module level and of classes: by `name` and `Class.attribute`"""

    @property
    def is_script(self) -> bool:
        """Whether it can be run by itself."""
        return any(isinstance(node, ast.If) and "__main__" in ast.dump(node.test) for node in self.tree.body)

    @property
    def uses_asyncio_client(self) -> bool:
        """Whether it imports an asyncio client of any kind."""
        return any(re.match(r"(redis|valkey|redpool)\.asyncio|aioredis", meaning) for meaning in self.imports.values())

    def function_of(self, node: ast.AST) -> Function | None:
        """Return the innermost function in which a node stands."""
        while (above := self.parents.get(node)) is not None:
            function = self.by_node.get(above)
            # Decorators and defaults are evaluated outside.
            if function is not None and node in function.node.body:
                return function
            node = above
        return None

    def meaning(self, node: ast.AST) -> str | None:
        """Return what a name or attribute means, dotted in full, where it was imported."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id)
        if isinstance(node, ast.Attribute):
            below = self.meaning(node.value)
            return f"{below}.{node.attr}" if below else None
        return None

    def ignores(self, line: int, rule: str) -> bool:
        """Return whether a comment in the line says that it is meant: `# redpool: ignore[P13]`."""
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        found = re.search(r"#\s*redpool:\s*ignore(?:\[([\w, ]+)\])?", text)
        return found is not None and (found[1] is None or rule in re.split(r"[, ]+", found[1]))


def parse(path: str, text: str) -> Source:
    """Return a file's imports, functions, and clients. Raises `SyntaxError` or `ValueError` for what is no Python."""
    parts = PurePath(path).with_suffix("").parts
    module = tuple(part for part in parts if part not in ("/", "..", ".", "__init__"))
    source = Source(path, ast.parse(text), text.splitlines(), module)
    package = module if path.endswith("__init__.py") else module[:-1]
    for node in ast.walk(source.tree):
        for child in ast.iter_child_nodes(node):
            source.parents[child] = node
        if isinstance(node, ast.Call):
            source.calls.append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            source.assignments.append(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            source.imports.update(_imports(node, package))
    for function in _functions(source.tree, None):
        source.functions[function.name] = source.by_node[function.node] = function
    for name, made in _kept_clients(source):
        source.clients.setdefault(name, made)
    return source


def made_by(source: Source, node: ast.AST | None) -> Made | None:
    """Return what a call makes, where it is a client or pool."""
    if isinstance(node, ast.Await):
        node = node.value
    if not isinstance(node, ast.Call):
        return None
    found = _MAKERS.fullmatch(source.meaning(node.func) or "")
    if found is None:
        return None
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    family, inner = found["family"] or found["family2"], found["inner"] or found["inner2"] or ""
    timeout, known = _number(given, "socket_timeout")
    size, _ = _number(given, "max_connections")
    return Made(
        call=ast.unparse(node.func),
        family=family,
        asynchronous="asyncio" in inner or family == "aioredis",
        own_pool=not _GIVEN & given.keys(),
        size=None if size is None else int(size),
        socket_timeout=timeout,
        timeout_known=known and None not in given,
    )


def kept(source: Source, node: ast.AST, function: Function) -> bool:
    """Return whether what an expression in a function makes outlives the call: it goes to a global or an attribute."""
    statement = _statement(source, node)
    declared = {
        name for each in ast.walk(function.node) if isinstance(each, ast.Global | ast.Nonlocal) for name in each.names
    }
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    named = {target.id for target in targets if isinstance(target, ast.Name)}
    if any(_outlives(target, declared) for target in targets):
        return True
    # `client = Redis(); self.client = client`, or kept by a call such as `pools.setdefault(key, client)`
    again = (
        target
        for each in ast.walk(function.node)
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Name) and each.value.id in named
        for target in each.targets
    )
    if any(_outlives(target, declared) for target in again):
        return True
    return any(isinstance(above, ast.Call) and _is_setdefault(above) for above in _above(source, node))


def _outlives(target: ast.expr, declared: set[str]) -> bool:
    if isinstance(target, ast.Name):
        return target.id in declared
    if isinstance(target, ast.Attribute | ast.Subscript):
        root: ast.expr = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        return not (isinstance(root, ast.Name) and root.id in _SHORT_LIVED)
    return False


def _is_setdefault(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr in ("setdefault", "set", "append")


def _above(source: Source, node: ast.AST) -> Iterator[ast.AST]:
    while (above := source.parents.get(node)) is not None and not isinstance(above, ast.stmt):
        yield above
        node = above


def _statement(source: Source, node: ast.AST) -> ast.AST:
    while not isinstance(node, ast.stmt) and node in source.parents:
        node = source.parents[node]
    return node


def _number(given: dict[str | None, ast.expr], name: str) -> tuple[float | None, bool]:
    """Return a keyword's value where it is a plain number, and whether it is known: it is left out, or is one."""
    value = given.get(name)
    if value is None:
        return None, True
    if isinstance(value, ast.Constant) and isinstance(value.value, int | float) and not isinstance(value.value, bool):
        return float(value.value), True
    return None, False


def _imports(node: ast.Import | ast.ImportFrom, package: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield each name that an import in a module of this package binds, and what it means."""
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        start = ".".join(part for part in (*above, node.module or "") if part)
        yield from ((alias.asname or alias.name, f"{start}.{alias.name}") for alias in node.names)
        return
    for alias in node.names:
        # `import redis.asyncio` binds `redis`.
        top = alias.name.partition(".")[0]
        yield (alias.asname, alias.name) if alias.asname else (top, top)
        if not alias.asname and "." in alias.name:
            yield f" {alias.name}", alias.name  # bound to no name, but imported


def _functions(node: ast.AST, class_node: ast.ClassDef | None) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _FUNCTIONS):
            name = f"{class_node.name}.{child.name}" if class_node else child.name
            decorators = [last(each) for each in child.decorator_list]
            handles = _handles(child, class_node)
            yield Function(
                node=child,
                name=name,
                class_name=class_node.name if class_node else None,
                handles=handles,
                on_request=handles,
                keeps=any(_KEEPS.search(each) for each in decorators),
            )
            yield from _functions(child, None)
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, child)
        else:
            yield from _functions(child, class_node)


def _handles(function: ast.FunctionDef | ast.AsyncFunctionDef, class_node: ast.ClassDef | None) -> bool:
    """Return whether a function handles requests or tasks by itself."""
    if any(_routes(decorator) for decorator in function.decorator_list):
        return True
    arguments = [each for each in function.args.args if each.arg not in ("self", "cls")]
    if arguments and arguments[0].arg == "request":
        return True
    if any(each.annotation is not None and last(each.annotation) in _REQUESTS for each in arguments):
        return True
    if class_node is None:
        return False
    if function.name in _MIDDLEWARE and class_node.name.endswith("Middleware"):
        return True
    return function.name in _VERBS and any(_VIEWS.search(last(base)) for base in class_node.bases)


def _routes(decorator: ast.expr) -> bool:
    """Return whether a decorator has a framework call the function: `@app.get("/")`, `@shared_task`."""
    path = decorator.args[0] if isinstance(decorator, ast.Call) and decorator.args else None
    has_path = isinstance(path, ast.Constant) and isinstance(path.value, str)
    return last(decorator) in _HANDLES or (last(decorator) in _ROUTES and has_path)


def last(node: ast.AST) -> str:
    """Return the last name of a decorator, a base or an annotation."""
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _kept_clients(source: Source) -> Iterator[tuple[str, Made]]:
    """Yield the clients that module-level names and attributes of `self` are assigned."""
    for node in source.assignments:
        made = first_made(source, node.value)
        if made is None:
            continue
        function = source.function_of(node)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name) and (function is None or kept(source, node.value or node, function)):
                yield target.id, made
            elif isinstance(target, ast.Attribute) and function is not None and function.class_name:
                yield f"{function.class_name}.{target.attr}", made


def first_made(source: Source, node: ast.AST | None) -> Made | None:
    """Return the client that an expression is, or may be: `given or redis.Redis()`."""
    if node is None:
        return None
    if isinstance(node, ast.BoolOp):
        return next((made for value in node.values if (made := made_by(source, value))), None)
    if isinstance(node, ast.IfExp):
        return made_by(source, node.body) or made_by(source, node.orelse)
    return made_by(source, node)
