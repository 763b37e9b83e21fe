// The keys of hives in versions: random batches against a model of plain maps, answers in parts of any size,
// cost.
#include <set>

#include "coordinator/repository/hive_place.h"
#include "coordinator/repository/test_content.h"
#include "coordinator/repository/test_hive_model.h"
#include "tests/support/seed.h"

using namespace roamstead;
using namespace roamstead::repository;
using profile::DeleteKey;
using profile::KeyPath;
using profile::KeyScope;
using profile::KeyState;
using profile::PutKey;

namespace {

const profile::ProfilePath kHive = path("NTUSER.DAT");

KeyPath key_path(std::string_view text) { return KeyPath::parse(text).value(); }

profile::Put& put_hive(BatchMaker& maker, std::string_view at = "NTUSER.DAT") {
  auto& put = maker.directory(at);
  put.entry.kind = profile::EntryKind::registry;
  return put;
}

// A value with its data, in the record or beside it.
void add_value(BatchMaker& maker, PutKey& put, const std::string& name, std::uint32_t type,
               const Bytes& data) {
  profile::RegistryValue value{name, type, data.size(), {}};
  if (value.is_inline())
    value.data = data;
  else
    maker.content.streams[{maker.batch.records.size(), put.values.size()}] = data;
  put.values.push_back(std::move(value));
}

// Every part of an answer, in parts of at most about `limit_bytes`.
std::vector<KeyState> all_keys(const Tree& tree, const KeyPath& key, KeyScope scope,
                               std::size_t limit_bytes) {
  std::vector<KeyState> all;
  std::string cursor;
  do {
    auto part = tree.keys(kHive, key, scope, cursor, limit_bytes);
    REQUIRE_MESSAGE(part, part.error().to_string());
    REQUIRE(!part->keys.empty());
    for (auto& state : part->keys) all.push_back(std::move(state));
    REQUIRE((part->next.empty() || part->next != cursor));
    cursor = part->next;
  } while (!cursor.empty());
  return all;
}

// The case of a hashed key's names is that of the time it was put: such paths are compared upcased.
std::vector<KeyState> comparable(std::vector<KeyState> states) {
  for (auto& state : states) {
    if (place_of(state.path).is_hashed()) state.path = key_path(profile::upcased(state.path));
    std::sort(state.values.begin(), state.values.end(), [](const auto& a, const auto& b) {
      return HiveModel::upcased(a.name) < HiveModel::upcased(b.name);
    });
  }
  std::sort(states.begin(), states.end(), [](const KeyState& a, const KeyState& b) {
    return profile::upcased(a.path) < profile::upcased(b.path);
  });
  return states;
}

void check_data(const Tree& tree, const KeyPath& at, const HiveModel::Key& key) {
  for (const auto& [upcased, value] : key.values) {
    Bytes data(value.data.size());
    auto read = tree.read_value(kHive, at, value.name, 0, data);
    REQUIRE_MESSAGE(read, read.error().to_string());
    REQUIRE(data == value.data);
  }
  for (const auto& [upcased, subkey] : key.subkeys) check_data(tree, at.child(subkey.name), subkey);
}

void collect(const HiveModel::Key& key, const KeyPath& at, std::vector<KeyPath>& paths) {
  paths.push_back(at);
  for (const auto& [upcased, subkey] : key.subkeys) collect(subkey, at.child(subkey.name), paths);
}

// "+key", "-key", "*key" of keys and "key=value" of values, upcased: what differs between two models.
void describe_all(const HiveModel::Key& key, const KeyPath& at, const char* sign,
                  std::multiset<std::string>& found) {
  found.insert(sign + profile::upcased(at));
  for (const auto& [name, value] : key.values) found.insert(sign + profile::upcased(at) + "=" + name);
  for (const auto& [name, subkey] : key.subkeys) describe_all(subkey, at.child(name), sign, found);
}
void describe_difference(const HiveModel::Key& before, const HiveModel::Key& after, const KeyPath& at,
                         std::multiset<std::string>& found) {
  const auto path = profile::upcased(at);
  if (before.entry.security != after.entry.security || before.entry.class_name != after.entry.class_name)
    found.insert("*" + path);
  for (const auto& [name, value] : before.values) {
    auto other = after.values.find(name);
    if (other == after.values.end())
      found.insert("-" + path + "=" + name);
    else if (other->second.type != value.type || other->second.data != value.data)
      found.insert("*" + path + "=" + name);
  }
  for (const auto& [name, value] : after.values)
    if (before.values.count(name) == 0) found.insert("+" + path + "=" + name);
  for (const auto& [name, subkey] : before.subkeys) {
    auto other = after.subkeys.find(name);
    if (other == after.subkeys.end())
      describe_all(subkey, at.child(name), "-", found);
    else
      describe_difference(subkey, other->second, at.child(name), found);
  }
  for (const auto& [name, subkey] : after.subkeys)
    if (before.subkeys.count(name) == 0) describe_all(subkey, at.child(name), "+", found);
}
std::multiset<std::string> differences(const Tree& before, const Tree& after) {
  std::multiset<std::string> found;
  auto done = before.diff_keys(after, kHive, [&](const Tree::KeyDifference& difference) {
    std::string text = difference.change == Tree::Change::added     ? "+"
                       : difference.change == Tree::Change::removed ? "-"
                                                                    : "*";
    text += profile::upcased(difference.key);
    if (difference.is_value())
      text += "=" + HiveModel::upcased(
                        (difference.value_after ? difference.value_after : difference.value_before)->name);
    found.insert(text);
  });
  REQUIRE_MESSAGE(done, done.error().to_string());
  return found;
}

// Batches that make, change and delete keys near those that are there: deep, with long names, in any case.
class RandomKeys {
 public:
  RandomKeys(std::mt19937_64& random, const HiveModel& model) : random_(random) {
    collect(model.root, {}, existing_);
  }

  void fill(BatchMaker& maker) {
    for (auto count = 1 + random_() % 8; count-- > 0;) {
      if (random_() % 4 == 0) {
        auto key = some_key();
        if (key.is_root()) continue;
        maker.batch.records.push_back(DeleteKey{kHive, key});
        if (random_() % 2 == 0) add_put(maker, key);
      } else {
        add_put(maker, random_() % 3 == 0 ? some_key() : new_key());
      }
    }
  }

 private:
  KeyPath some_key() { return in_any_case(existing_[random_() % existing_.size()]); }
  KeyPath in_any_case(const KeyPath& key) {
    return random_() % 4 == 0 ? key_path(profile::upcased(key)) : key;
  }
  KeyPath new_key() {
    auto key = some_key();
    if (key.depth() > 40) return key;
    return key.child(name());
  }
  std::string name() {
    static const std::string kNames[] = {
        "a", "B", "ü", "é.x", std::string("n\0l", 3), "\x01", "\xF0\x9F\x98\x80"};
    if (random_() % 4 == 0) return std::string(100 + random_() % 150, static_cast<char>('k' + random_() % 2));
    if (random_() % 20 == 0) return to_wtf8(std::u16string(255, u'文'));
    return kNames[random_() % std::size(kNames)];
  }
  std::string value_name() {
    switch (random_() % 8) {
      case 0:
        return "";
      case 1:
        return std::string(900 + random_() % 3, 'v');
      case 2:
        return std::string(1500, 'w') + static_cast<char>('a' + random_() % 2);
      case 3:
        return to_wtf8(std::u16string(16383, u'值'));
      default:
        return std::string(1, static_cast<char>('a' + random_() % 4)) + (random_() % 2 == 0 ? "x" : "X");
    }
  }
  Bytes data() {
    static const std::size_t kSizes[] = {0, 1, 4, 100, 4095, 4096, 4097, 20'000, 400'000};
    return random_bytes(random_, kSizes[random_() % (random_() % 16 == 0 ? 9 : 8)]);
  }
  void add_put(BatchMaker& maker, const KeyPath& key) {
    PutKey put{kHive, key, {}, random_() % 4 == 0, {}, {}};
    put.entry.written_100ns = random_();
    put.entry.security = random_bytes(random_, random_() % 20 == 0 ? 9'000 : random_() % 3);
    put.entry.class_name = random_bytes(random_, random_() % 2);
    for (auto count = random_() % 4; count-- > 0;) add_value(maker, put, value_name(), 0, data());
    for (auto& value : put.values) value.type = static_cast<std::uint32_t>(random_());
    for (auto count = random_() % 3; count-- > 0;) put.deleted_values.push_back(value_name());
    maker.batch.records.push_back(std::move(put));
  }

  std::mt19937_64& random_;
  std::vector<KeyPath> existing_;
};

// Deletions, then puts, parents first; false when a put has no parent.
bool apply_to_model(HiveModel& model, BatchMaker& maker) {
  std::vector<std::size_t> puts;
  for (std::size_t i = 0; i < maker.batch.records.size(); ++i) {
    if (const auto* gone = std::get_if<DeleteKey>(&maker.batch.records[i])) model.apply(*gone);
    if (std::holds_alternative<PutKey>(maker.batch.records[i])) puts.push_back(i);
  }
  std::stable_sort(puts.begin(), puts.end(), [&](auto a, auto b) {
    return std::get<PutKey>(maker.batch.records[a]).key.depth() <
           std::get<PutKey>(maker.batch.records[b]).key.depth();
  });
  for (auto i : puts)
    if (!model.apply(std::get<PutKey>(maker.batch.records[i]), [&](std::size_t value) {
          return maker.content.streams.at({i, value});
        }))
      return false;
  return true;
}

std::uint64_t bytes_of(const Tree& tree) {
  std::uint64_t bytes = 0;
  for (const auto& key : all_keys(tree, {}, KeyScope::subtree, 1u << 20))
    for (const auto& value : key.values) bytes += value.size_bytes;
  return bytes;
}

void check_same(std::mt19937_64& random, const Tree& tree, const HiveModel& model) {
  std::vector<KeyPath> paths;
  collect(model.root, {}, paths);
  const auto limit = std::size_t{1} << (random() % 18);
  for (int i = 0; i < 4; ++i) {
    const auto key = i == 0 ? KeyPath() : paths[random() % paths.size()];
    for (auto scope : {KeyScope::key, KeyScope::subtree}) {
      auto expected = comparable(model.keys(key, scope)->keys);
      auto found = comparable(all_keys(tree, key, scope, limit));
      REQUIRE(found.size() == expected.size());
      for (std::size_t k = 0; k < found.size(); ++k) {
        CAPTURE(found[k].path.text());
        CHECK(found[k].path == expected[k].path);
        CHECK(found[k].complete == expected[k].complete);
        CHECK(found[k].entry == expected[k].entry);
        CHECK(found[k].values == expected[k].values);
      }
    }
    auto small = all_keys(tree, key, KeyScope::subtree_if_small, limit);
    auto all = tree.keys(kHive, key, KeyScope::subtree, "", limit).value();
    CHECK(comparable(small) ==
          comparable(all.next.empty() ? std::move(all.keys) : all_keys(tree, key, KeyScope::key, limit)));
  }
  check_data(tree, {}, model.root);
}

}  // namespace

TEST_CASE("random batches of keys give what a model of them gives, and are refused when it refuses") {
  auto random = support::seeded_random();
  TestRepository test;
  BatchMaker first;
  put_hive(first);
  REQUIRE(test.commit(first));
  HiveModel model;
  int applied = 0, refused = 0;
  std::size_t hashed = 0;
  for (int round = 0; round < 3000 && (applied < 100 || refused == 0 || hashed == 0); ++round) {
    BatchMaker maker;
    RandomKeys(random, model).fill(maker);
    if (!profile::check_batch(maker.batch)) continue;
    auto after = model;
    const bool fits = apply_to_model(after, maker);
    auto head = test.repository->find_profile("alice").value().head;
    auto growth = test.repository->growth(test.profile, head, maker.batch);
    auto committed = test.commit(maker);
    REQUIRE_MESSAGE(committed.has_value() == fits, (committed ? "" : committed.error().to_string()));
    if (!fits) {
      ++refused;
      CHECK(committed.error().code == ErrorCode::not_found);
      continue;
    }
    ++applied;
    auto before_tree = test.repository->tree(test.profile, head).value();
    auto after_tree = test.repository->tree(test.profile, committed->number).value();
    check_same(random, *after_tree, after);
    CHECK(committed->logical_bytes == bytes_of(*after_tree));
    REQUIRE(growth);
    CHECK(*growth == static_cast<std::int64_t>(bytes_of(*after_tree)) -
                         static_cast<std::int64_t>(bytes_of(*before_tree)));
    std::multiset<std::string> expected;
    describe_difference(model.root, after.root, {}, expected);
    CHECK(differences(*before_tree, *after_tree) == expected);
    model = std::move(after);
    std::vector<KeyPath> paths;
    collect(model.root, {}, paths);
    for (const auto& each : paths) hashed += place_of(each).is_hashed();
  }
  CHECK(applied >= 100);
  CHECK(refused > 0);
  CHECK(hashed > 0);
  auto report = test.repository->check({}).value();
  for (const auto& problem : report.problems) FAIL_CHECK(problem);
}
