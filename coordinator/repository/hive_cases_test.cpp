// Hives in versions, case by case: what a batch does to them, answers in parts, differences, cost.
#include <algorithm>

#include "coordinator/repository/test_content.h"
#include "coordinator/repository/test_hive_model.h"

using namespace roamstead;
using namespace roamstead::repository;
using profile::DeleteKey;
using profile::KeyPath;
using profile::KeyScope;
using profile::PutKey;

namespace {

KeyPath key_path(std::string_view text) { return KeyPath::parse(text).value(); }

void put_hive(BatchMaker& maker, std::string_view at = "NTUSER.DAT") {
  maker.directory(at).entry.kind = profile::EntryKind::registry;
}
PutKey& put_key(BatchMaker& maker, std::string_view key, std::string_view hive = "NTUSER.DAT") {
  maker.batch.records.push_back(PutKey{path(hive), key_path(key), {}, false, {}, {}});
  return std::get<PutKey>(maker.batch.records.back());
}
PutKey& with_value(PutKey& put, const std::string& name, std::string_view text) {
  put.values.push_back({name, 1, text.size(), to_bytes(text)});
  return put;
}
void delete_key(BatchMaker& maker, std::string_view key) {
  maker.batch.records.push_back(DeleteKey{path("NTUSER.DAT"), key_path(key)});
}

// Every key's path, and its values as "name=text".
std::string contents(const TestRepository& test, std::uint64_t version,
                     std::string_view hive = "NTUSER.DAT") {
  auto tree = test.repository->tree(test.profile, version).value();
  auto all = tree->keys(path(hive), {}, KeyScope::subtree, "", 1u << 20);
  REQUIRE_MESSAGE(all, all.error().to_string());
  std::string text;
  for (const auto& state : all->keys) {
    text += "[" + state.path.text() + "]";
    for (const auto& value : state.values) text += value.name + "=" + std::string(as_text(value.data)) + ";";
  }
  return text;
}

std::uint64_t head(const TestRepository& test) { return test.repository->find_profile("alice")->head; }

std::string long_name(char c) { return std::string(250, c); }

// Counts what is read of a repository's packs.
class CountingFiles final : public os::FileSystem {
 public:
  std::uint64_t bytes_read = 0;

  Result<std::unique_ptr<os::File>> open(const std::string& at, os::OpenMode mode) override {
    RS_TRY(auto file, real_.open(at, mode));
    return std::make_unique<CountingFile>(std::move(file), bytes_read);
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    return real_.rename(from, to);
  }
  Result<void> link(const std::string& from, const std::string& to) override { return real_.link(from, to); }
  Result<bool> same_file(const std::string& a, const std::string& b) override {
    return real_.same_file(a, b);
  }
  Result<void> remove(const std::string& at) override { return real_.remove(at); }
  Result<bool> exists(const std::string& at) override { return real_.exists(at); }
  Result<std::vector<std::string>> list_directory(const std::string& at) override {
    return real_.list_directory(at);
  }
  Result<void> make_directories(const std::string& at) override { return real_.make_directories(at); }
  Result<void> sync_directory(const std::string& at) override { return real_.sync_directory(at); }

 private:
  class CountingFile final : public os::File {
   public:
    CountingFile(std::unique_ptr<os::File> file, std::uint64_t& bytes_read)
        : file_(std::move(file)), bytes_read_(bytes_read) {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableByteView out) const override {
      bytes_read_ += out.size();
      return file_->read_at(offset, out);
    }
    Result<void> write_at(std::uint64_t offset, ByteView data) override {
      return file_->write_at(offset, data);
    }
    Result<std::uint64_t> size() const override { return file_->size(); }
    Result<void> truncate(std::uint64_t size) override { return file_->truncate(size); }
    Result<void> sync() override { return file_->sync(); }
    Result<void> lock(bool exclusive) override { return file_->lock(exclusive); }
    const std::string& path() const override { return file_->path(); }

   private:
    std::unique_ptr<os::File> file_;
    std::uint64_t& bytes_read_;
  };

  os::FileSystem& real_ = os::real_file_system();
};

}  // namespace

TEST_CASE("a put hive has a root key, and keeps its keys when it is put again or moved") {
  TestRepository test;
  BatchMaker first, again, moved;
  put_hive(first);
  REQUIRE(test.commit(first));
  CHECK(contents(test, 1) == "[]");
  CHECK(test.repository->tree(test.profile, 1).value()->lookup(path("NTUSER.DAT"))->kind ==
        profile::EntryKind::registry);
  put_hive(again);
  std::get<profile::Put>(again.batch.records[0]).entry.metadata.written_100ns = 7;
  with_value(put_key(again, "Software\\A"), "v", "1");
  put_key(again, "Software").entry.class_name = to_bytes("C");
  REQUIRE(test.commit(again));
  CHECK(contents(test, 2) == "[][Software][Software\\A]v=1;");
  moved.move("NTUSER.DAT", "other");
  with_value(put_key(moved, "Software\\B", "other"), "w", "2");
  REQUIRE(test.commit(moved));
  CHECK(contents(test, 3, "other") == "[][Software][Software\\A]v=1;[Software\\B]w=2;");
  auto tree = test.repository->tree(test.profile, 3).value();
  CHECK(tree->keys(path("NTUSER.DAT"), {}, KeyScope::key, "", 1).error().code == ErrorCode::not_found);
}

TEST_CASE("a hive in the place of a file is a new one, a file in the place of a hive has no keys") {
  TestRepository test;
  BatchMaker file, hive, back;
  file.file("NTUSER.DAT", "bytes of a hive");
  REQUIRE(test.commit(file));
  put_hive(hive);
  put_key(hive, "A");
  REQUIRE(test.commit(hive));
  CHECK(contents(test, 2) == "[][A]");
  back.file("NTUSER.DAT", "bytes again");
  REQUIRE(test.commit(back));
  CHECK(test.read(3, "NTUSER.DAT") == to_bytes("bytes again"));
  BatchMaker third;
  put_hive(third);
  REQUIRE(test.commit(third));
  CHECK(contents(test, 4) == "[]");
  CHECK(test.repository->check({})->problems.empty());
}

TEST_CASE("keys: a deletion takes what is below, a put of the same key makes it anew, a merge gives way") {
  TestRepository test;
  BatchMaker first, anew, merged, names;
  put_hive(first);
  with_value(with_value(put_key(first, "A"), "one", "1"), "two", "2").entry = {to_bytes("class"), 5,
                                                                               to_bytes("sd")};
  with_value(put_key(first, "A\\Below"), "x", "y");
  put_key(first, "AB");
  REQUIRE(test.commit(first));

  merged.batch.records.push_back(PutKey{path("NTUSER.DAT"), key_path("a"), {{}, 9, {}}, true, {}, {"ONE"}});
  with_value(std::get<PutKey>(merged.batch.records[0]), "TWO", "3");
  REQUIRE(test.commit(merged));
  CHECK(contents(test, 2) == "[][A]TWO=3;[A\\Below]x=y;[AB]");
  auto state = test.repository->tree(test.profile, 2)
                   .value()
                   ->keys(path("NTUSER.DAT"), key_path("A"), KeyScope::key, "", 1)
                   .value()
                   .keys[0];
  CHECK(state.entry == profile::KeyEntry{to_bytes("class"), 9, to_bytes("sd")});

  delete_key(anew, "a");
  with_value(put_key(anew, "a"), "three", "3");
  delete_key(anew, "not there");  // sent in vain
  REQUIRE(test.commit(anew));
  CHECK(contents(test, 3) == "[][a]three=3;[AB]");

  put_key(names, "");
  std::get<PutKey>(names.batch.records[0]).entry.security = to_bytes("root's");
  with_value(std::get<PutKey>(names.batch.records[0]), "", "default");
  REQUIRE(test.commit(names));
  CHECK(contents(test, 4) == "[]=default;[a]three=3;[AB]");
}

TEST_CASE("a batch is refused whose key has no parent or whose hive is none, naming it") {
  TestRepository test;
  BatchMaker first;
  put_hive(first);
  first.file("file", "F");
  put_key(first, "A");
  REQUIRE(test.commit(first));
  auto refusal = [&](const std::function<void(BatchMaker&)>& fill) {
    BatchMaker maker;
    fill(maker);
    auto committed = test.commit(maker);
    REQUIRE_FALSE(committed);
    CHECK(committed.error().code == ErrorCode::not_found);
    return committed.error().to_string();
  };
  CHECK(refusal([](auto& maker) { put_key(maker, "none\\child"); }).find("'none' does not exist") !=
        std::string::npos);
  CHECK(refusal([](auto& maker) {
          delete_key(maker, "A");
          put_key(maker, "A\\child");
        }).find("'A' does not exist") != std::string::npos);
  CHECK(refusal([](auto& maker) { put_key(maker, "A", "file"); }).find("'file' is no hive") !=
        std::string::npos);
  CHECK(refusal([](auto& maker) { put_key(maker, "A", "gone"); }).find("'gone'") != std::string::npos);
  CHECK(head(test) == 1);
}

TEST_CASE("answers come in parts of any size: each key once, parents first, in one order") {
  TestRepository test;
  BatchMaker maker;
  put_hive(maker);
  auto deep = key_path(long_name('a') + "\\" + long_name('b') + "\\" + long_name('c'));
  for (auto at = deep; !at.is_root(); at = at.parent()) put_key(maker, at.text());
  for (int i = 0; i < 3; ++i) {
    auto key = deep.child(long_name(static_cast<char>('d' + i)));
    with_value(put_key(maker, key.text()), "v", "hashed");
    put_key(maker, key.child("child").text());
  }
  for (int i = 0; i < 300; ++i) {
    put_key(maker, "many" + std::to_string(i));
    with_value(put_key(maker, "many0\\" + std::to_string(i)), "v", "text");
  }
  REQUIRE(test.commit(maker));
  auto tree = test.repository->tree(test.profile, 1).value();
  for (const auto& [key, scope] :
       std::vector<std::pair<KeyPath, KeyScope>>{{{}, KeyScope::subtree},
                                                 {{}, KeyScope::key},
                                                 {key_path("MANY0"), KeyScope::key},
                                                 {deep, KeyScope::key},
                                                 {deep, KeyScope::subtree},
                                                 {deep.child(long_name('d')), KeyScope::subtree},
                                                 {deep.child(long_name('d')), KeyScope::key},
                                                 {key_path("many1"), KeyScope::subtree}}) {
    auto whole = tree->keys(path("NTUSER.DAT"), key, scope, "", 1u << 20).value();
    CHECK(whole.next.empty());
    for (std::size_t limit : {0u, 1u, 300u, 1000u, 5000u, 20000u, 60000u}) {
      std::vector<profile::KeyState> all;
      std::string cursor;
      do {
        auto part = tree->keys(path("NTUSER.DAT"), key, scope, cursor, limit).value();
        REQUIRE(!part.keys.empty());
        if (limit == 0) REQUIRE(part.keys.size() == 1);
        for (auto& state : part.keys) all.push_back(std::move(state));
        cursor = part.next;
      } while (!cursor.empty());
      REQUIRE(all == whole.keys);
    }
  }
  // Small subtrees come whole, large ones level by level, also from the second part on.
  auto small = tree->keys(path("NTUSER.DAT"), key_path("many0"), KeyScope::subtree_if_small, "", 100'000);
  CHECK(small->next.empty());
  CHECK(small->keys.back().complete);
  auto large = tree->keys(path("NTUSER.DAT"), key_path("many0"), KeyScope::subtree_if_small, "", 1000);
  REQUIRE(!large->next.empty());
  CHECK_FALSE(large->keys.back().complete);
  auto second =
      tree->keys(path("NTUSER.DAT"), key_path("many0"), KeyScope::subtree_if_small, large->next, 1000);
  CHECK_FALSE(second->keys.front().complete);
  // A cursor that was never given for this key is refused or gives keys below it, and nothing else.
  for (const auto& cursor : {std::string("x"), std::string("\0\2OTHER\0", 8), std::string(2000, '\xFF'),
                             std::string("\0\2MANY0\0\2\0", 10), std::string("\0\2MANY0\0\1V", 10)})
    for (auto scope : {KeyScope::key, KeyScope::subtree}) {
      auto part = tree->keys(path("NTUSER.DAT"), key_path("many0"), scope, cursor, 1000);
      if (!part) continue;
      for (const auto& state : part->keys) CHECK(state.path.is_within(key_path("many0")));
    }
  CHECK(tree->keys(path("NTUSER.DAT"), key_path("many0"), KeyScope::subtree, "x", 1).error().code ==
        ErrorCode::invalid_argument);
  CHECK(tree->keys(path("NTUSER.DAT"), key_path("none\\x"), KeyScope::key, "", 1)
            .error()
            .to_string()
            .find("no key 'none\\x'") != std::string::npos);
}

TEST_CASE("long data is read in ranges, and shared with what a file holds") {
  TestRepository test;
  std::mt19937_64 random(3);
  auto data = random_bytes(random, 700'000);
  BatchMaker first, second;
  put_hive(first);
  auto& put = put_key(first, "A");
  put.values.push_back({"big", 3, data.size(), {}});
  first.content.streams[{1, 0}] = data;
  REQUIRE(test.commit(first));
  auto tree = test.repository->tree(test.profile, 1).value();
  for (std::size_t offset : {0u, 1u, 300'000u, 699'990u}) {
    Bytes part(10);
    REQUIRE(tree->read_value(path("NTUSER.DAT"), key_path("a"), "BIG", offset, part));
    CHECK(std::equal(part.begin(), part.end(), data.begin() + static_cast<std::ptrdiff_t>(offset)));
  }
  Bytes part(11);
  CHECK(tree->read_value(path("NTUSER.DAT"), key_path("a"), "big", 699'990, part).error().code ==
        ErrorCode::invalid_argument);
  CHECK(tree->read_value(path("NTUSER.DAT"), key_path("a"), "none", 0, {}).error().code ==
        ErrorCode::not_found);
  CHECK(tree->read_value(path("NTUSER.DAT"), key_path("b"), "none", 0, {}).error().code ==
        ErrorCode::not_found);
  second.file("copy", data);
  CHECK(test.commit(second)->new_bytes < 20'000);
}

TEST_CASE("differences: values and keys, times alone none, a missing hive as one without keys") {
  TestRepository test;
  BatchMaker first, second, third;
  put_hive(first);
  for (auto key : {"A", "B", "C", "C\\D"}) with_value(put_key(first, key), "v", "1");
  REQUIRE(test.commit(first));
  put_key(second, "a").entry.written_100ns = 99;
  put_key(second, "B").entry.security = to_bytes("sd");
  with_value(std::get<PutKey>(second.batch.records[1]), "V", "2");
  delete_key(second, "C");
  put_key(second, "E");
  REQUIRE(test.commit(second));
  third.remove("NTUSER.DAT");
  REQUIRE(test.commit(third));
  auto differences = [&](std::uint64_t before, std::uint64_t after) {
    std::vector<std::string> found;
    auto newer = test.repository->tree(test.profile, after).value();
    auto done = test.repository->tree(test.profile, before)
                    .value()
                    ->diff_keys(*newer, path("NTUSER.DAT"), [&](const Tree::KeyDifference& difference) {
                      auto sign = difference.change == Tree::Change::added     ? "+"
                                  : difference.change == Tree::Change::removed ? "-"
                                                                               : "*";
                      found.push_back(sign + difference.key.text() + (difference.is_value() ? "=" : ""));
                    });
    REQUIRE_MESSAGE(done, done.error().to_string());
    return found;
  };
  using Lines = std::vector<std::string>;
  CHECK(differences(1, 2) == Lines{"*B", "*B=", "-C", "-C=", "-C\\D", "-C\\D=", "+E"});
  CHECK(differences(2, 1) == Lines{"*B", "*B=", "+C", "+C=", "+C\\D", "+C\\D=", "-E"});
  CHECK(differences(1, 3) == Lines{"-", "-A", "-A=", "-B", "-B=", "-C", "-C=", "-C\\D", "-C\\D="});
  CHECK(differences(2, 2).empty());
  auto tree = test.repository->tree(test.profile, 3).value();
  CHECK(tree->diff_keys(*tree, path("NTUSER.DAT"), [](const auto&) {}).error().code == ErrorCode::not_found);
  // The profile's own differences name the hive.
  std::vector<std::string> changed;
  auto newer = test.repository->tree(test.profile, 2).value();
  REQUIRE(test.repository->tree(test.profile, 1)
              .value()
              ->diff(*newer, [&](Tree::Change, const profile::ProfilePath& at, const profile::Entry&) {
                changed.push_back(at.text());
              }));
  CHECK(changed == Lines{"NTUSER.DAT"});
}

TEST_CASE("a few keys of a hive of 100,000 cost a few pages, to change, to read and to compare") {
  CountingFiles files;
  TestRepository test(files);
  std::mt19937_64 random(5);
  BatchMaker first;
  put_hive(first);
  for (int i = 0; i < 100; ++i) {
    const auto parent = "parent" + std::to_string(i);
    put_key(first, parent);
    for (int k = 0; k < 1000; ++k)
      put_key(first, parent + "\\key" + std::to_string(k)).entry.security = random_bytes(random, 50);
  }
  auto committed = test.commit(first).value();
  CHECK(committed.new_bytes > 5'000'000);
  BatchMaker second;
  with_value(put_key(second, "parent7\\key77"), "v", "1");
  put_key(second, "parent50\\new");
  delete_key(second, "parent99\\key5");
  test.reopen();
  files.bytes_read = 0;
  committed = test.commit(second).value();
  INFO("commit: read ", files.bytes_read, " bytes, wrote ", committed.new_bytes);
  CHECK(files.bytes_read < 500'000);
  CHECK(committed.new_bytes < 200'000);
  test.reopen();
  files.bytes_read = 0;
  auto before = test.repository->tree(test.profile, 1).value(),
       after = test.repository->tree(test.profile, 2).value();
  int differences = 0;
  REQUIRE(before->diff_keys(*after, path("NTUSER.DAT"), [&](const auto&) { ++differences; }));
  CHECK(differences == 4);  // key77 has another descriptor and a value
  INFO("difference: read ", files.bytes_read, " bytes");
  CHECK(files.bytes_read < 700'000);
  test.reopen();
  files.bytes_read = 0;
  auto children = test.repository->tree(test.profile, 2)
                      .value()
                      ->keys(path("NTUSER.DAT"), {}, KeyScope::key, "", 1u << 20)
                      .value();
  CHECK(children.keys.size() == 101);
  INFO("subkeys: read ", files.bytes_read, " bytes");
  CHECK(files.bytes_read < 3'000'000);  // about a page for each, whatever lies below it
}
