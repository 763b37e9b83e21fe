// Batches against a model that applies them in another way: by identity of nodes and to a fixed point, not by
// depth.
#include "coordinator/repository/tree_editor.h"

#include <memory>

#include "common/base/event.h"
#include "coordinator/repository/test_content.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;
using profile::Entry;
using profile::EntryKind;

namespace {

struct ModelNode {
  Entry entry;
  std::map<std::string, Bytes> streams;  // "" is the unnamed one
  std::map<std::string, std::shared_ptr<ModelNode>> children;
};
using ModelPointer = std::shared_ptr<ModelNode>;

ModelPointer copy(const ModelPointer& node) {
  auto made = std::make_shared<ModelNode>(*node);
  for (auto& [name, child] : made->children) child = copy(child);
  return made;
}

ModelPointer find(const ModelPointer& root, const profile::ProfilePath& at) {
  auto node = root;
  for (auto name : at.components()) {
    auto next = node->children.find(std::string(name));
    if (!node->entry.is_directory() || next == node->children.end()) return nullptr;
    node = next->second;
  }
  return node;
}

void make_streams(ModelNode& made, const ModelPointer& base, const profile::Put& put, std::size_t record,
                  BatchMaker& maker) {
  auto stream = [&](const std::string& name, std::uint64_t size) {
    Bytes bytes(size);
    if (base && base->streams.count(name) != 0) {
      bytes = base->streams[name];
      bytes.resize(size);
    }
    for (std::size_t c = 0; c < put.contents.size(); ++c)
      if (put.contents[c].name == name)
        for (auto write : put.contents[c].writes)
          std::copy_n(maker.content.streams[{record, c}].begin() + static_cast<std::ptrdiff_t>(write.offset),
                      write.length, bytes.begin() + static_cast<std::ptrdiff_t>(write.offset));
    made.streams[name] = bytes;
  };
  if (!made.entry.is_directory()) stream("", made.entry.size_bytes);
  for (const auto& other : made.entry.streams) stream(other.name, other.size_bytes);
}

// The tree after the batch, or null when it must be refused.
ModelPointer apply_to_model(const ModelPointer& before, BatchMaker& maker) {
  auto after = copy(before);
  struct Pending {
    const profile::ProfilePath* target;
    ModelPointer moved;
    const profile::Put* put;
    std::size_t record;
  };
  std::vector<Pending> pending;
  std::vector<std::pair<ModelPointer, std::string>> taken;
  auto take = [&](const profile::ProfilePath& source) {
    auto node = find(after, source);
    if (node) taken.emplace_back(find(after, source.parent()), std::string(source.name()));
    return node;
  };
  for (std::size_t i = 0; i < maker.batch.records.size(); ++i) {
    const auto& record = maker.batch.records[i];
    if (const auto* gone = std::get_if<profile::Delete>(&record)) {
      if (!take(gone->source)) return nullptr;
    } else if (const auto* move = std::get_if<profile::Move>(&record)) {
      auto node = take(move->source);
      if (!node) return nullptr;
      pending.insert(pending.begin(), {&move->target, node, nullptr, i});
    } else {
      pending.push_back({&std::get<profile::Put>(record).path, nullptr, &std::get<profile::Put>(record), i});
    }
  }
  for (auto& [parent, name] : taken) parent->children.erase(name);
  // Whatever has a folder to be in comes next; moves stand first.
  while (!pending.empty()) {
    auto ready = std::find_if(pending.begin(), pending.end(), [&](const Pending& waiting) {
      auto folder = find(after, waiting.target->parent());
      return folder && folder->entry.is_directory();
    });
    if (ready == pending.end()) return nullptr;
    auto next = *ready;
    pending.erase(ready);
    auto parent = find(after, next.target->parent());
    std::string name(next.target->name());
    if (next.moved) {
      if (!parent->children.emplace(name, next.moved).second) return nullptr;
      continue;
    }
    auto& there = parent->children[name];
    auto base = next.put->base ? find(before, *next.put->base) : nullptr;
    if ((there && there->entry.is_directory() != next.put->entry.is_directory()) || (next.put->base && !base))
      return nullptr;
    auto made = std::make_shared<ModelNode>();
    made->entry = next.put->entry;
    if (there) made->children = there->children;
    make_streams(*made, base, *next.put, next.record, maker);
    there = made;
  }
  return after;
}

void check_same(const Tree& tree, const ModelNode& model, const profile::ProfilePath& at) {
  auto entry = tree.lookup(at);
  REQUIRE(entry);
  CHECK(*entry == model.entry);
  for (const auto& [name, bytes] : model.streams) {
    Bytes found(bytes.size());
    REQUIRE(tree.read(at, name, 0, found));
    CHECK(found == bytes);
  }
  if (!model.entry.is_directory()) return;
  auto children = tree.list(at, "", 1000).value();
  REQUIRE(children.size() == model.children.size());
  for (const auto& child : children) {
    REQUIRE(model.children.count(child.name) == 1);
    check_same(tree, *model.children.at(child.name), at.child(child.name));
  }
}

std::uint64_t bytes_of(const ModelNode& model) {
  std::uint64_t bytes = 0;
  for (const auto& [name, stream] : model.streams) bytes += stream.size();
  for (const auto& [name, child] : model.children) bytes += bytes_of(*child);
  return bytes;
}

void collect(const ModelNode& node, const profile::ProfilePath& at,
             std::vector<profile::ProfilePath>& paths) {
  for (const auto& [name, child] : node.children) {
    paths.push_back(at.child(name));
    collect(*child, at.child(name), paths);
  }
}

std::string describe(const profile::Batch& batch) {
  std::string text;
  for (const auto& record : batch.records) {
    if (const auto* gone = std::get_if<profile::Delete>(&record)) text += "delete " + gone->source.text();
    if (const auto* move = std::get_if<profile::Move>(&record))
      text += "move " + move->source.text() + " -> " + move->target.text();
    if (const auto* put = std::get_if<profile::Put>(&record))
      text += std::string(put->entry.is_directory() ? "put folder " : "put file ") + put->path.text() +
              (put->base ? " base " + put->base->text() : std::string());
    text += "; ";
  }
  return text;
}

class RandomBatch {
 public:
  RandomBatch(std::mt19937_64& random, const ModelPointer& model) : random_(random), model_(model) {
    collect(*model, profile::ProfilePath(), existing_);
  }

  void fill(BatchMaker& maker) {
    for (auto count = 1 + random_() % 5; count-- > 0;) {
      switch (random_() % 6) {
        case 0:
          add_delete(maker);
          break;
        case 1:
          add_move(maker, source(), target());
          break;
        case 2:
          add_swap(maker);
          break;
        case 3:
          add_rename_over(maker);
          break;
        default:
          add_put(maker);
          break;
      }
    }
  }

 private:
  profile::ProfilePath source() {
    return existing_.empty() ? path("a") : existing_[random_() % existing_.size()];
  }
  profile::ProfilePath target() {
    static const char* kNames[] = {"a", "b", "A", "c", "d"};
    auto parent = random_() % 3 == 0 || existing_.empty() ? profile::ProfilePath() : source();
    return parent.child(kNames[random_() % std::size(kNames)]);
  }
  void add_delete(BatchMaker& maker) { maker.batch.records.push_back(profile::Delete{source()}); }
  void add_move(BatchMaker& maker, const profile::ProfilePath& from, const profile::ProfilePath& to) {
    maker.batch.records.push_back(profile::Move{from, to});
  }
  void add_swap(BatchMaker& maker) {
    auto one = source(), other = source();
    add_move(maker, one, other);
    add_move(maker, other, one);
  }
  void add_rename_over(BatchMaker& maker) {
    auto over = source();
    maker.batch.records.push_back(profile::Delete{over});
    add_move(maker, source(), over);
  }
  void add_put(BatchMaker& maker) {
    profile::Put put;
    put.path = random_() % 3 == 0 ? source() : target();
    put.entry.metadata.attributes = static_cast<std::uint32_t>(random_() % 2);
    put.entry.metadata.written_100ns = random_();
    put.entry.metadata.security = random_bytes(random_, random_() % 50 == 0 ? 10'000 : random_() % 3);
    if (random_() % 2 == 0) {
      put.entry.kind = EntryKind::directory;
      maker.batch.records.push_back(put);
      return;
    }
    auto base = random_() % 2 == 0 ? source() : put.path;
    auto node = find(model_, base);
    if (node && !node->entry.is_directory() && random_() % 4 != 0) put.base = base;
    add_stream(maker, put, "", put.base ? node : nullptr);
    if (random_() % 3 == 0) add_stream(maker, put, "Zone.Identifier", put.base ? node : nullptr);
    maker.batch.records.push_back(put);
  }
  void add_stream(BatchMaker& maker, profile::Put& put, const std::string& name, const ModelPointer& base) {
    auto old = base ? base->streams.find(name) : decltype(base->streams.end())();
    auto has_old = base && old != base->streams.end();
    std::uint64_t size = has_old && random_() % 2 == 0 ? old->second.size()
                         : random_() % 4 == 0          ? random_() % 50'000
                                                       : random_() % 50;
    auto unchanged = has_old && size == old->second.size() && random_() % 2 == 0;
    if (name.empty())
      put.entry.size_bytes = size;
    else
      put.entry.streams.push_back({name, size});
    if (unchanged) return;
    std::vector<ByteRange> writes;
    if (size > 0 && (!has_old || random_() % 4 != 0)) {
      auto offset = has_old ? random_() % size : 0;
      writes.push_back({offset, 1 + random_() % (size - offset)});
    }
    maker.content.streams[{maker.batch.records.size(), put.contents.size()}] = random_bytes(random_, size);
    put.contents.push_back({name, size, writes});
  }

  std::mt19937_64& random_;
  ModelPointer model_;
  std::vector<profile::ProfilePath> existing_;
};

}  // namespace

TEST_CASE("random batches give what a model of them gives, and are refused when it refuses") {
  auto random = support::seeded_random();
  TestRepository test;
  auto model = std::make_shared<ModelNode>();
  model->entry.kind = EntryKind::directory;
  int applied = 0, refused = 0;
  for (int round = 0; round < 5000 && applied < 120; ++round) {
    BatchMaker maker;
    RandomBatch(random, model).fill(maker);
    if (!profile::check_batch(maker.batch)) continue;
    auto after = apply_to_model(model, maker);
    auto head = test.repository->find_profile("alice").value().head;
    auto growth = test.repository->growth(test.profile, head, maker.batch);
    // One byte less than what is needed is refused, and what is needed is not.
    CommitOrigin origin;
    if (after != nullptr && bytes_of(*after) > std::max<std::uint64_t>(1, bytes_of(*model))) {
      origin.quota_bytes = bytes_of(*after) - 1;
      auto over = test.commit(maker, {}, origin);
      REQUIRE(!over);
      CHECK(over.error().code == ErrorCode::full);
      CHECK(event_in(over.error().to_string()) == id_of(Event::over_quota));
    }
    if (after != nullptr) origin.quota_bytes = std::max<std::uint64_t>(1, bytes_of(*after));
    if (after != nullptr && bytes_of(*after) <= bytes_of(*model)) origin.quota_bytes = 1;
    auto committed = test.commit(maker, {}, origin);
    std::vector<profile::ProfilePath> there;
    collect(*model, profile::ProfilePath(), there);
    std::string paths;
    for (const auto& at : there) paths += at.text() + (find(model, at)->entry.is_directory() ? "/ " : " ");
    INFO(paths << " <- " << describe(maker.batch)
               << (committed ? std::string() : committed.error().to_string()));
    REQUIRE(committed.has_value() == (after != nullptr));
    if (!committed) {
      ++refused;
      CHECK(test.repository->find_profile("alice")->head == head);
      continue;
    }
    ++applied;
    REQUIRE(growth);
    CHECK(*growth ==
          static_cast<std::int64_t>(bytes_of(*after)) - static_cast<std::int64_t>(bytes_of(*model)));
    CHECK(committed->logical_bytes == bytes_of(*after));
    model = after;
    check_same(*test.repository->tree(test.profile, committed->number).value(), *model,
               profile::ProfilePath());
  }
  CHECK(applied == 120);
  CHECK(refused > 50);
  CHECK(test.repository->check({})->problems.empty());
}

namespace {

// Documents/{a,b}, Music/{deep/{x}}, file
TestRepository& with_tree(TestRepository& test) {
  BatchMaker maker;
  maker.directory("Documents");
  maker.file("Documents/a", "A");
  maker.file("Documents/b", "B");
  maker.directory("Music");
  maker.directory("Music/deep");
  maker.file("Music/deep/x", "X");
  maker.file("file", "F");
  REQUIRE(test.commit(maker));
  return test;
}

ErrorCode refusal(TestRepository& test, BatchMaker& maker, const std::string& names) {
  auto committed = test.commit(maker);
  REQUIRE_FALSE(committed);
  CHECK_MESSAGE(committed.error().to_string().find(names) != std::string::npos,
                committed.error().to_string());
  return committed.error().code;
}

}  // namespace

TEST_CASE("two names are swapped in one batch") {
  TestRepository test;
  with_tree(test);
  BatchMaker maker;
  maker.move("Documents/a", "Documents/b");
  maker.move("Documents/b", "Documents/a");
  REQUIRE(test.commit(maker));
  CHECK(test.read(2, "Documents/a") == to_bytes("B"));
  CHECK(test.read(2, "Documents/b") == to_bytes("A"));
}

TEST_CASE("a folder changes places with its own child") {
  TestRepository test;
  with_tree(test);
  BatchMaker maker;
  maker.move("Music/deep", "Music");
  maker.move("Music", "Music/deep");
  REQUIRE(test.commit(maker));
  CHECK(test.read(2, "Music/x") == to_bytes("X"));
  auto tree = test.repository->tree(test.profile, 2).value();
  CHECK(tree->list(path("Music/deep"), "", 10)->empty());
}

TEST_CASE("a deleted folder's child survives when it is moved out") {
  TestRepository test;
  with_tree(test);
  BatchMaker maker;
  maker.remove("Music");
  maker.move("Music/deep", "Documents/deep");
  REQUIRE(test.commit(maker));
  CHECK(test.read(2, "Documents/deep/x") == to_bytes("X"));
  CHECK(test.repository->tree(test.profile, 2).value()->lookup(path("Music")).error().code ==
        ErrorCode::not_found);
}

TEST_CASE("a batch that the tree contradicts is refused, naming the path, and changes nothing") {
  TestRepository test;
  with_tree(test);
  {
    BatchMaker maker;
    maker.remove("Documents/none");
    CHECK(refusal(test, maker, "Documents/none") == ErrorCode::not_found);
  }
  {
    BatchMaker maker;
    maker.file("new", "N");
    maker.file("nowhere/child", "C");
    CHECK(refusal(test, maker, "nowhere/child") == ErrorCode::not_found);
  }
  {
    BatchMaker maker;
    maker.move("file", "Documents/a");
    CHECK(refusal(test, maker, "Documents/a") == ErrorCode::exists);
  }
  {
    BatchMaker maker;
    maker.move("Music", "Music/deep/inside");
    CHECK(refusal(test, maker, "Music/deep/inside") == ErrorCode::not_found);
  }
  {
    BatchMaker maker;
    maker.file("Music", "M");
    CHECK(refusal(test, maker, "Music") == ErrorCode::exists);
  }
  {
    BatchMaker maker;
    maker.file("file/child", "C");
    CHECK(refusal(test, maker, "file/child") == ErrorCode::invalid_argument);
  }
  {
    BatchMaker maker;
    maker.file("file", "FF").base = path("none");
    CHECK(refusal(test, maker, "none") == ErrorCode::not_found);
  }
  {
    BatchMaker maker;
    auto& put = maker.file("file", "");
    put.contents.clear();
    put.entry.size_bytes = 100;
    put.base = path("file");
    CHECK(refusal(test, maker, "file") == ErrorCode::invalid_argument);
  }
  {
    BatchMaker maker;
    maker.directory("Documents").entry.kind = static_cast<EntryKind>(77);
    CHECK(refusal(test, maker, "Documents") != ErrorCode::internal);
  }
  CHECK(test.repository->versions(test.profile)->size() == 1);
}
