#include "agent/fuse/node_table.h"

#include <doctest/doctest.h>

namespace roamstead::agent {
namespace {

TEST_CASE("a renamed directory takes everything below along") {
  NodeTable nodes("Users/alice", 5);
  auto folder = nodes.remember(kRootNode, "folder", {10, ""});
  auto deep = nodes.remember(folder, "deep", {11, ""});
  auto file = nodes.remember(deep, "file", {12, ""});
  CHECK(nodes.path(file) == "Users/alice/folder/deep/file");
  nodes.renamed(kRootNode, "folder", kRootNode, "moved");
  CHECK(nodes.path(file) == "Users/alice/moved/deep/file");
  nodes.renamed(folder, "deep", kRootNode, "deep");
  CHECK(nodes.path(file) == "Users/alice/deep/file");
}

TEST_CASE("hard links share a node, which keeps a path while one is left") {
  NodeTable nodes("r", 5);
  auto one = nodes.remember(kRootNode, "one", {10, ""});
  CHECK(nodes.remember(kRootNode, "two", {10, ""}) == one);
  nodes.removed(kRootNode, "one");
  CHECK(nodes.path(one) == "r/two");
  nodes.removed(kRootNode, "two");
  CHECK_FALSE(nodes.path(one));
}

TEST_CASE("a record used again is a new node, though the kernel still knows the old one") {
  NodeTable nodes("r", 5);
  auto old = nodes.remember(kRootNode, "old", {10, ""});
  nodes.removed(kRootNode, "old");
  auto fresh = nodes.remember(kRootNode, "new", {10, ""});
  CHECK(fresh != old);
  nodes.forget(old, 1);
  CHECK(nodes.path(fresh) == "r/new");
}

TEST_CASE("a file removed while open is found in the graveyard until it is closed") {
  NodeTable nodes("r", 5);
  auto file = nodes.remember(kRootNode, "file", {10, ""});
  nodes.opened(file);
  nodes.opened(file);
  CHECK(nodes.is_open(10));
  nodes.buried(kRootNode, "file", 10, "staging/1");
  CHECK(nodes.path(file) == "staging/1");
  nodes.forget(file, 1);
  CHECK_FALSE(nodes.closed(file).last_of_removed);
  auto closed = nodes.closed(file);
  CHECK(closed.last_of_removed);
  CHECK(closed.graveyard_path == "staging/1");
  CHECK_FALSE(nodes.is_open(10));
  CHECK(nodes.remember(kRootNode, "file", {10, ""}) != file);
}

TEST_CASE("forgotten nodes go, parents after their children") {
  NodeTable nodes("r", 5);
  auto folder = nodes.remember(kRootNode, "folder", {10, ""});
  auto file = nodes.remember(folder, "file", {11, ""});
  nodes.forget(folder, 1);
  CHECK(nodes.path(file) == "r/folder/file");
  nodes.forget(file, 1);
  CHECK_FALSE(nodes.path(file));
  CHECK_FALSE(nodes.path(folder));
  CHECK_FALSE(nodes.key(folder));
}

TEST_CASE("exchanged names exchange what they stand for") {
  NodeTable nodes("r", 5);
  auto one = nodes.remember(kRootNode, "one", {10, ""});
  auto two = nodes.remember(kRootNode, "two", {11, ""});
  nodes.exchanged(kRootNode, "one", kRootNode, "two");
  CHECK(nodes.path(one) == "r/two");
  CHECK(nodes.path(two) == "r/one");
}

}  // namespace
}  // namespace roamstead::agent
