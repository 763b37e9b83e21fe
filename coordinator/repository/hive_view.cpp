#include "coordinator/repository/hive_view.h"

#include "coordinator/repository/content.h"

namespace roamstead::repository {
namespace {

using profile::KeyPath;
using profile::KeyScope;
using profile::KeyState;
using profile::KeyStates;

// Entries of a subtree that is passed over one by one before a search for its end is cheaper.
constexpr std::size_t kPassedOver = 128;
constexpr std::size_t kFixedBytes = 64;  // what a key or value takes in an answer besides its own bytes

tl::unexpected<Error> wrong_cursor() {
  return fail(ErrorCode::invalid_argument, "a cursor that no answer about this key gave");
}
tl::unexpected<Error> no_key(const KeyPath& key) {
  return fail(ErrorCode::not_found, "no key '" + key.text() + "'");
}

// One part of an answer as it grows.
class Part {
 public:
  explicit Part(std::size_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // Whether the last key is one too many: it goes, and the next part begins with it, at `place`.
  bool is_over(std::string_view place) {
    if (states.keys.size() < 2 || bytes_ <= limit_bytes_) return false;
    states.keys.pop_back();
    states.next = std::string(place);
    return true;
  }
  void add(KeyPath path, KeyRecord record) {
    bytes_ +=
        kFixedBytes + path.text().size() + record.entry.class_name.size() + record.entry.security.size();
    states.keys.push_back({std::move(path), std::move(record.entry), false, {}});
  }
  void add(const ValueRecord& record) {
    bytes_ += kFixedBytes + record.name.size();
    states.keys.back().values.push_back(record.value());
    bytes_ += states.keys.back().values.back().data.size();
  }

  KeyStates states;

 private:
  std::size_t limit_bytes_;
  std::size_t bytes_ = 0;
};

}  // namespace

Result<std::shared_ptr<const Page>> RecentPages::load(const ObjectId& id, KeyOrder order) {
  if (auto found = pages_.find(id); found != pages_.end()) return found->second;
  RS_TRY(auto page, source_.load(id, order));
  if (pages_.size() >= kMostPages) pages_.clear();
  pages_[id] = page;
  return page;
}

Result<KeyRecord> HiveView::load_key(ByteView stored) const {
  RS_TRY(auto encoded, objects_.load_record(stored));
  return parse_key_record(encoded);
}

Result<ValueRecord> HiveView::load_value(ByteView stored) const {
  RS_TRY(auto encoded, objects_.load_record(stored));
  return parse_value_record(encoded);
}

Result<KeyPath> KeyPaths::down_to(const ParsedPlace& place, std::size_t levels) {
  while (!known_.empty() && (known_.size() > levels ||
                             known_.back().record != place.record.substr(0, place.ends[known_.size() - 1])))
    known_.pop_back();
  while (known_.size() < levels) {
    std::string record(place.record.substr(0, place.ends[known_.size()]));
    RS_TRY(auto stored, hive_.tree().find(record));
    if (!stored) return fail(ErrorCode::corrupt, "hive page: a key without the key above it");
    RS_TRY(auto key, hive_.load_key(*stored));
    if (key.path.is_root() != known_.empty())
      return fail(ErrorCode::corrupt, "hive page: a key's record at another key's place");
    auto path = known_.empty() ? KeyPath() : known_.back().path.child(key.path.name());
    known_.push_back({std::move(record), std::move(path)});
  }
  return known_.back().path;
}

Result<KeyPath> KeyPaths::plain(const ParsedPlace& place) { return down_to(place, place.ends.size()); }

Result<KeyPath> KeyPaths::of(const ParsedPlace& place, const KeyRecord& record) {
  if (place.is_hashed) {
    RS_TRY(auto anchor, plain(place));
    if (record.path.is_root()) return fail(ErrorCode::corrupt, "hive page: a key without a name");
    return anchor.child(record.path.text());
  }
  if (record.path.is_root() != (place.ends.size() == 1))
    return fail(ErrorCode::corrupt, "hive page: a key's record at another key's place");
  KeyPath path;
  if (place.ends.size() > 1) {
    RS_TRY(path, down_to(place, place.ends.size() - 1));
    path = path.child(record.path.name());
  } else {
    known_.clear();
  }
  known_.push_back({std::string(place.record), path});
  return path;
}

Result<KeyStates> HiveView::keys(const KeyPath& key, KeyScope scope, const std::string& cursor,
                                 std::size_t limit_bytes) const {
  const auto place = place_of(key);
  RS_TRY(auto stored, tree_.find(place.record));
  if (!stored) return no_key(key);
  RS_TRY(auto record, load_key(*stored));
  RS_TRY(auto parsed, parse_place(place.record));
  RS_TRY(auto path, KeyPaths(*this).of(parsed, record));  // in the case in which it was put
  if (scope == KeyScope::key) return key_and_children(path, place, cursor, limit_bytes);
  if (scope == KeyScope::subtree) return subtree(path, place, cursor, limit_bytes);
  if (cursor.empty()) {
    RS_TRY(auto all, subtree(path, place, cursor, limit_bytes));
    if (all.next.empty()) return all;
  }
  return key_and_children(path, place, cursor, limit_bytes);  // as the part before was
}

Result<KeyStates> HiveView::key_and_children(const KeyPath& key, const KeyPlace& place,
                                             const std::string& cursor, std::size_t limit_bytes) const {
  Part part(limit_bytes);
  const auto plain = place.plain_children(), hashed = place.hashed_children();
  if (cursor.empty()) {
    RS_CHECK(tree_.scan(place.record, [&](std::string_view at, ByteView stored) -> Result<bool> {
      if (at == place.record) {
        RS_TRY(auto record, load_key(stored));
        part.add(key, std::move(record));
        return true;
      }
      if (!at.starts_with(place.values())) return false;
      RS_TRY(auto record, load_value(stored));
      part.add(record);
      return true;
    }));
    part.states.keys.front().complete = true;
  } else if (!cursor.starts_with(plain) && !cursor.starts_with(hashed)) {
    return wrong_cursor();
  }
  auto add_child = [&](std::string_view at, ByteView stored) -> Result<bool> {
    RS_TRY(auto record, load_key(stored));
    if (record.path.is_root()) return fail(ErrorCode::corrupt, "hive page: a key without a name");
    auto path = key.child(record.path.name());
    part.add(std::move(path), std::move(record));
    return !part.is_over(at);
  };

  if (!place.is_hashed() && !cursor.starts_with(hashed)) {
    auto from = cursor.empty() ? plain : cursor;
    for (bool again = true; again;) {
      again = false;
      std::size_t passed = 0;
      RS_CHECK(tree_.scan(from, [&](std::string_view at, ByteView stored) -> Result<bool> {
        if (!at.starts_with(plain)) return false;
        const auto end = at.find('\0', plain.size());
        if (end == std::string_view::npos) return parse_place(at).map([](const auto&) { return false; });
        if (end + 1 == at.size()) {
          passed = 0;
          return add_child(at, stored);
        }
        if (++passed < kPassedOver) return true;
        from = after_all_within(std::string(at.substr(0, end + 1)));
        again = true;
        return false;
      }));
    }
    if (!part.states.next.empty()) return std::move(part.states);
  }
  RS_CHECK(tree_.scan(cursor.starts_with(hashed) ? cursor : hashed,
                      [&](std::string_view at, ByteView stored) -> Result<bool> {
                        if (!at.starts_with(hashed)) return false;
                        RS_TRY(auto parsed, parse_place(at));
                        return parsed.is_value ? Result<bool>(true) : add_child(at, stored);
                      }));
  return std::move(part.states);
}

Result<KeyStates> HiveView::subtree(const KeyPath& key, const KeyPlace& place, const std::string& cursor,
                                    std::size_t limit_bytes) const {
  // What lies below a hashed key is found among all that its anchor has: such paths are too rare for more.
  const auto range = place.is_hashed() ? std::string(place.anchor()) + '\x03' : place.record;
  std::optional<KeyPath> wanted;
  if (place.is_hashed()) {
    RS_TRY(wanted, KeyPath::parse(profile::upcased(key)));
  }
  if (!cursor.empty() && !cursor.starts_with(range)) return wrong_cursor();
  Part part(limit_bytes);
  KeyPaths paths(*this);
  std::string record_of_values;
  RS_CHECK(
      tree_.scan(cursor.empty() ? range : cursor, [&](std::string_view at, ByteView stored) -> Result<bool> {
        if (!at.starts_with(range)) return false;
        RS_TRY(auto parsed, parse_place(at));
        if (parsed.is_value) {
          if (parsed.record != record_of_values) return wanted ? Result<bool>(true) : wrong_cursor();
          RS_TRY(auto record, load_value(stored));
          part.add(record);
          return !part.is_over(record_of_values);
        }
        record_of_values.clear();
        RS_TRY(auto record, load_key(stored));
        RS_TRY(auto path, paths.of(parsed, record));
        if (wanted) {
          RS_TRY(auto upcased, KeyPath::parse(profile::upcased(path)));
          if (!upcased.is_within(*wanted)) return true;
        }
        record_of_values = std::string(parsed.record);
        part.add(std::move(path), std::move(record));
        part.states.keys.back().complete = true;
        return !part.is_over(at);
      }));
  return std::move(part.states);
}

Result<void> HiveView::read_value(const KeyPath& key, const std::string& value, std::uint64_t offset,
                                  MutableByteView out) const {
  const auto place = place_of(key);
  RS_TRY(auto stored, tree_.find(value_place(place, value)));
  if (!stored) {
    RS_TRY(auto record, tree_.find(place.record));
    if (!record) return no_key(key);
    return fail(ErrorCode::not_found, "key '" + key.text() + "' has no value '" + value + "'");
  }
  RS_TRY(auto record, load_value(*stored));
  RS_CHECK_CTX("value '" + value + "' of key '" + key.text() + "'",
               read_content(objects_, record.content, record.size_bytes, offset, out));
  return {};
}

}  // namespace roamstead::repository
