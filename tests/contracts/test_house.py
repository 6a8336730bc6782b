"""What holds for every module of the package: where it lies, and what its public functions say of themselves."""

import ast

import pytest

from covbench.system.files import PACKAGE

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def public_functions(body, inside_class=False):
    """Every public function and method with the names of its parameters, `self` left out."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, inside_class=True)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bound = inside_class and not any(getattr(d, "id", "") == "staticmethod" for d in node.decorator_list)
            yield node, [argument.arg for argument in arguments[1 if bound else 0 :]]


def test_the_root_of_the_package_holds_rooms_and_two_modules():
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "schema.py", "protocols.py"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_public_function_of_three_parameters_or_more_explains_each_of_them(path):
    silent = []
    for node, parameters in public_functions(ast.parse(path.read_text(encoding="utf-8")).body):
        if len(parameters) < 3:
            continue
        docstring = ast.get_docstring(node) or ""
        explained = docstring.partition("Args:")[2]
        silent += [
            f"{node.name}: {name}" for name in parameters if f"{name}:" not in explained and f"{name}," not in explained
        ]
        returns = node.returns is not None and ast.unparse(node.returns) != "None"
        generator = "Iterator" in (ast.unparse(node.returns) if node.returns else "")
        if returns and not any(f"{word}:" in docstring for word in ("Returns", "Yields")):
            silent.append(f"{node.name}: {'Yields' if generator else 'Returns'}")
    assert silent == []


def test_no_file_of_the_package_passes_400_lines():
    long = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
