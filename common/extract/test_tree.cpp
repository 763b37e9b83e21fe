#include "common/extract/test_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "common/base/sha256.h"
#include "common/base/text.h"
#include "common/extract/entry_reader.h"
#include "common/extract/live_hive.h"
#include "tests/support/must.h"

namespace roamstead::extract {
namespace {

std::pair<std::string, std::string> split(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

using support::must;

Bytes put_stream(const profile::Put& put, const profile::StreamContent* content, const TestNode* base,
                 const std::string& name, std::uint64_t size, std::size_t record, std::size_t index,
                 profile::ContentSource& source) {
  Bytes bytes;
  if (base != nullptr)
    if (auto found = base->streams.find(name); found != base->streams.end()) bytes = found->second;
  if (content == nullptr) {
    if (base == nullptr && size != 0)
      throw std::runtime_error(put.path.text() + ": no content for '" + name + "'");
    if (bytes.size() != size)
      throw std::runtime_error(put.path.text() + ": the base's size is not the entry's");
    return bytes;
  }
  bytes.resize(size);
  for (auto write : content->writes) {
    auto read =
        source.read(record, index, write.offset, MutableByteView(bytes).subspan(write.offset, write.length));
    if (!read) throw std::runtime_error(put.path.text() + ": " + read.error().to_string());
  }
  return bytes;
}

void describe_node(const std::string& path, const TestNode& node,
                   std::map<std::string, std::string>& result) {
  if (node.entry.kind == profile::EntryKind::registry) {  // what lies around the keys does not roam
    result[path] = "registry";
    return node.keys.describe(path, result);
  }
  const auto& metadata = node.entry.metadata;
  auto text = fmt::format("kind {} attributes {:x} created {} security {} target '{}'",
                          static_cast<int>(node.entry.kind), metadata.attributes, metadata.created_100ns,
                          metadata.security.size(), node.entry.link_target);
  if (!node.is_directory())
    text += fmt::format(" written {} size {}", metadata.written_100ns, node.entry.size_bytes);
  for (const auto& stream : node.entry.streams)
    text += fmt::format(" [{} {}]", stream.name, stream.size_bytes);
  for (const auto& [name, bytes] : node.streams)
    text += fmt::format(" '{}'={:x}/{}", name, load_le<std::uint64_t>(sha256(bytes)), bytes.size());
  result[path] = text;
  for (const auto& [name, child] : node.children)
    describe_node(path.empty() ? name : path + "/" + name, *child, result);
}

void settle_node(TestNode& node) {
  node.entry.size_bytes = 0;
  node.entry.streams.clear();
  for (const auto& [name, bytes] : node.streams) {
    if (name.empty())
      node.entry.size_bytes = bytes.size();
    else
      node.entry.streams.push_back({name, bytes.size()});
  }
  std::sort(node.entry.streams.begin(), node.entry.streams.end(),
            [](const auto& a, const auto& b) { return compare_names(a.name, b.name) < 0; });
  for (auto& [name, child] : node.children) settle_node(*child);
}

void read_node(const ntfs::Volume& volume, std::uint64_t record, const std::string& root,
               const std::string& path, TestNode& node) {
  const auto file = must(volume.record(record));
  if (is_hive_file(file, path)) {
    node.entry.kind = profile::EntryKind::registry;
    const auto on_volume = root + "/" + path;
    const auto hive = must(LoadedHive::load(volume, must(find_hive_files(volume, on_volume)), on_volume));
    node.keys = TestKeys::of(hive->hive());
    return;
  }
  node.entry = must(read_entry(volume, file, root, path, nullptr));
  for (const auto& stream : file.streams) {
    Bytes bytes(stream.size_bytes);
    if (auto read = volume.read(stream, 0, bytes); !read) throw std::runtime_error(read.error().to_string());
    node.streams[stream.name] = std::move(bytes);
  }
  if (!file.directory) return;
  for (const auto& child : must(volume.list(record))) {
    const auto at = path.empty() ? child.name : path + "/" + child.name;
    if (profile::classify_hive_file(at) == profile::HiveFile::companion) continue;
    auto& made = node.children[child.name] = std::make_unique<TestNode>();
    read_node(volume, child.reference.record, root, at, *made);
  }
}

}  // namespace

std::unique_ptr<TestNode> TestNode::clone() const {
  auto copy = std::make_unique<TestNode>();
  copy->entry = entry;
  copy->streams = streams;
  copy->keys = keys;
  for (const auto& [name, child] : children) copy->children[name] = child->clone();
  return copy;
}

TestTree::TestTree() : root_(std::make_unique<TestNode>()) {
  root_->entry.kind = profile::EntryKind::directory;
}

TestTree& TestTree::operator=(const TestTree& other) {
  root_ = other.root_->clone();
  return *this;
}

TestNode* TestTree::find(const std::string& path) {
  auto* node = root_.get();
  for (std::size_t start = 0; start < path.size() && node != nullptr;) {
    const auto end = std::min(path.find('/', start), path.size());
    auto child = node->children.find(path.substr(start, end - start));
    node = child == node->children.end() ? nullptr : child->second.get();
    start = end + 1;
  }
  return node;
}

TestNode& TestTree::at(const std::string& path) {
  if (auto* node = find(path)) return *node;
  throw std::runtime_error("the tree has no '" + path + "'");
}

std::unique_ptr<TestNode> TestTree::take(const std::string& path) {
  const auto [parent, name] = split(path);
  auto& children = at(parent).children;
  auto child = children.find(name);
  if (child == children.end()) throw std::runtime_error("the tree has no '" + path + "' to take");
  auto node = std::move(child->second);
  children.erase(child);
  return node;
}

void TestTree::put(const std::string& path, std::unique_ptr<TestNode> node) {
  const auto [parent, name] = split(path);
  auto& directory = at(parent);
  if (!directory.is_directory()) throw std::runtime_error("'" + parent + "' is not a directory");
  if (!directory.children.emplace(name, std::move(node)).second)
    throw std::runtime_error("'" + path + "' is there already");
}

TestNode& TestTree::make_directory(const std::string& path) {
  auto node = std::make_unique<TestNode>();
  node->entry.kind = profile::EntryKind::directory;
  put(path, std::move(node));
  return at(path);
}

TestNode& TestTree::make_file(const std::string& path, ByteView content) {
  auto node = std::make_unique<TestNode>();
  node->streams[""] = to_bytes(content);
  node->entry.size_bytes = content.size();
  put(path, std::move(node));
  return at(path);
}

TestNode& TestTree::make_hive(const std::string& path, TestKeys keys) {
  auto node = std::make_unique<TestNode>();
  node->entry.kind = profile::EntryKind::registry;
  node->keys = std::move(keys);
  put(path, std::move(node));
  return at(path);
}

void TestTree::settle() { settle_node(*root_); }

void TestTree::apply(const profile::Batch& batch, profile::ContentSource& content) {
  if (auto fine = profile::check_batch(batch); !fine) throw std::runtime_error(fine.error().to_string());
  TestTree before = *this;
  struct Take {
    std::string source;
    std::optional<std::string> target;
    std::unique_ptr<TestNode> node;
  };
  std::vector<Take> takes;
  for (const auto& record : batch.records) {
    if (const auto* gone = std::get_if<profile::Delete>(&record))
      takes.push_back({gone->source.text(), {}, nullptr});
    if (const auto* move = std::get_if<profile::Move>(&record))
      takes.push_back({move->source.text(), move->target.text(), nullptr});
  }
  // From the leaves up: what is moved out of a deleted directory is taken before it goes.
  std::sort(takes.begin(), takes.end(),
            [](const auto& a, const auto& b) { return a.source.size() > b.source.size(); });
  for (auto& one : takes) one.node = take(one.source);

  // Parents first, whether they come by a move or a put; a put after a move of the same path.
  std::map<std::pair<std::string, int>, std::size_t> arrivals;
  for (std::size_t i = 0; i < takes.size(); ++i)
    if (takes[i].target) arrivals[{*takes[i].target, 0}] = i;
  for (std::size_t i = 0; i < batch.records.size(); ++i)
    if (const auto* made = std::get_if<profile::Put>(&batch.records[i])) arrivals[{made->path.text(), 1}] = i;
  for (const auto& arrival : arrivals) {  // clang 14 lets no lambda capture a structured binding
    const auto& key = arrival.first;
    const auto index = arrival.second;
    if (key.second == 0) {
      put(key.first, std::move(takes[index].node));
      continue;
    }
    const auto& made = std::get<profile::Put>(batch.records[index]);
    const TestNode* base = made.base ? &before.at(made.base->text()) : nullptr;
    auto* node = find(made.path.text());
    if (node == nullptr) {
      put(made.path.text(), std::make_unique<TestNode>());
      node = find(made.path.text());
    } else if (node->is_directory() != made.entry.is_directory()) {
      throw std::runtime_error("'" + made.path.text() + "' is of another kind and not deleted");
    }
    std::map<std::string, Bytes> streams;
    const auto add = [&](const std::string& name, std::uint64_t size) {
      const profile::StreamContent* found = nullptr;
      std::size_t at = 0;
      for (std::size_t i = 0; i < made.contents.size(); ++i)
        if (made.contents[i].name == name) found = &made.contents[at = i];
      streams[name] = put_stream(made, found, base, name, size, index, at, content);
    };
    if (made.entry.kind == profile::EntryKind::file) add("", made.entry.size_bytes);
    for (const auto& stream : made.entry.streams) add(stream.name, stream.size_bytes);
    const bool was_hive = node->entry.kind == profile::EntryKind::registry && !node->keys.keys().empty();
    const bool is_hive = made.entry.kind == profile::EntryKind::registry;
    if (is_hive != was_hive) node->keys = is_hive ? TestKeys::empty() : TestKeys();
    node->entry = made.entry;
    node->streams = std::move(streams);
  }
  apply_keys(batch, content);
}

void TestTree::apply_keys(const profile::Batch& batch, profile::ContentSource& content) {
  const auto keys_of = [&](const profile::ProfilePath& hive) -> TestKeys& {
    auto& node = at(hive.text());
    if (node.entry.kind != profile::EntryKind::registry)
      throw std::runtime_error("'" + hive.text() + "' is no hive");
    return node.keys;
  };
  std::map<std::pair<std::string, std::string>, std::size_t> puts;  // parents come first
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    if (const auto* gone = std::get_if<profile::DeleteKey>(&batch.records[i]))
      keys_of(gone->hive).apply(*gone);
    if (const auto* made = std::get_if<profile::PutKey>(&batch.records[i]))
      puts[{made->hive.text(), profile::upcased(made->key)}] = i;
  }
  for (const auto& arrival : puts) {
    const auto index = arrival.second;
    const auto& made = std::get<profile::PutKey>(batch.records[index]);
    keys_of(made.hive).apply(made, [&](std::size_t value) {
      Bytes bytes(made.values[value].size_bytes);
      auto read = content.read(index, value, 0, bytes);
      if (!read) throw std::runtime_error(made.key.text() + ": " + read.error().to_string());
      return bytes;
    });
  }
}

std::map<std::string, std::string> TestTree::describe() {
  std::map<std::string, std::string> result;
  describe_node("", *root_, result);
  result.erase("");  // the root's own times are the desktop's
  return result;
}

TestTree read_tree(const ntfs::Volume& volume, const std::string& root) {
  TestTree tree;
  read_node(volume, must(volume.lookup(root)).record, root, "", tree.root());
  return tree;
}

namespace {
// Of streams that both have: where the first and the last byte is that is not the same.
std::string different_bytes(const TestNode& expected, const TestNode& actual) {
  std::string lines;
  for (const auto& [name, bytes] : expected.streams) {
    const auto other = actual.streams.find(name);
    if (other == actual.streams.end()) continue;
    const auto size = std::min(bytes.size(), other->second.size());
    std::size_t first = 0, end = size;
    while (first < size && bytes[first] == other->second[first]) ++first;
    while (end > first && bytes[end - 1] == other->second[end - 1]) --end;
    if (first < end)
      lines += fmt::format("  '{}' differs in {} to {} of {}\n", name, first, end, bytes.size());
  }
  return lines;
}
}  // namespace

std::string difference(TestTree& expected, TestTree& actual) {
  const auto a = expected.describe(), b = actual.describe();
  std::string lines;
  for (const auto& [path, text] : a) {
    auto other = b.find(path);
    if (other == b.end())
      lines += "missing: " + path + "\n";
    else if (other->second != text)
      lines += "differs: " + path + "\n  expected " + text + "\n  actual   " + other->second + "\n" +
               different_bytes(expected.at(path), actual.at(path));
  }
  for (const auto& [path, text] : b)
    if (a.count(path) == 0) lines += "too many: " + path + "\n";
  return lines;
}

std::string describe(const profile::Batch& batch) {
  std::string text;
  for (const auto& record : batch.records) {
    if (const auto* gone = std::get_if<profile::Delete>(&record)) {
      text += "delete " + gone->source.text() + "\n";
    } else if (const auto* move = std::get_if<profile::Move>(&record)) {
      text += "move " + move->source.text() + " -> " + move->target.text() + "\n";
    } else if (const auto* key_gone = std::get_if<profile::DeleteKey>(&record)) {
      text += "delete key " + key_gone->hive.text() + "\\" + key_gone->key.text() + "\n";
    } else if (const auto* key = std::get_if<profile::PutKey>(&record)) {
      text += std::string(key->merge ? "merge" : "put") + " key " + key->hive.text() + "\\" + key->key.text();
      for (const auto& value : key->values)
        text += fmt::format(" '{}' {}:{}", value.name, value.type, value.size_bytes);
      for (const auto& name : key->deleted_values) text += " -'" + name + "'";
      text += "\n";
    } else {
      const auto& put = std::get<profile::Put>(record);
      text += fmt::format("put {} kind {} size {}", put.path.text(), static_cast<int>(put.entry.kind),
                          put.entry.size_bytes);
      if (put.base) text += " base " + put.base->text();
      for (const auto& content : put.contents) {
        text += fmt::format(" '{}' {}:", content.name, content.size_bytes);
        for (auto write : content.writes) text += fmt::format(" {}+{}", write.offset, write.length);
      }
      text += "\n";
    }
  }
  for (const auto& held : batch.held_back) text += "held back " + held.path + ": " + held.reason + "\n";
  return text;
}

}  // namespace roamstead::extract
