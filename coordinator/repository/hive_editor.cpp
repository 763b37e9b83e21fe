#include "coordinator/repository/hive_editor.h"

#include "coordinator/repository/content.h"

namespace roamstead::repository {

HiveEditor::HiveEditor(ProfileObjects& objects, const ObjectId& root, bool store)
    : objects_(objects), before_(objects, root), store_(store) {
  if (root.is_zero()) {
    auto value = objects_.store_record(encode_record(KeyRecord{}));  // small: lies in its page
    if (value) edits_[place_of({}).record] = std::move(*value);
  }
}

Result<std::optional<Bytes>> HiveEditor::find(const std::string& place) const {
  if (auto edit = edits_.find(place); edit != edits_.end()) return edit->second;
  return before_.tree().find(place);
}

Result<std::uint64_t> HiveEditor::value_bytes(const std::string& place) const {
  if (auto put = put_bytes_.find(place); put != put_bytes_.end()) return put->second;
  if (edits_.count(place) != 0) return 0;  // gone
  RS_TRY(auto there, before_.tree().find(place));
  if (!there) return 0;
  RS_TRY(auto stored, objects_.load_record(*there));
  RS_TRY(auto value, parse_value_record(stored));
  return value.size_bytes;
}

Result<void> HiveEditor::edit_value(const std::string& place, std::optional<Bytes> record,
                                    std::uint64_t size_bytes) {
  RS_TRY(auto before, value_bytes(place));
  grown_bytes_ += static_cast<std::int64_t>(size_bytes) - static_cast<std::int64_t>(before);
  put_bytes_.erase(place);
  if (record) put_bytes_[place] = size_bytes;
  edits_[place] = std::move(record);
  return {};
}

// `hashed_keys`, when given, receives the records of keys met.
Result<void> HiveEditor::remove_all_within(const std::string& prefix, std::vector<std::string>* hashed_keys) {
  return before_.tree().scan(prefix, [&](std::string_view at, ByteView value) -> Result<bool> {
    if (!at.starts_with(prefix)) return false;
    RS_TRY(auto parsed, parse_place(at));
    if (!edits_.emplace(std::string(at), std::nullopt).second) return true;  // gone with a key around it
    if (parsed.is_value) {
      RS_TRY(auto stored, objects_.load_record(value));
      RS_TRY(auto record, parse_value_record(stored));
      grown_bytes_ -= static_cast<std::int64_t>(record.size_bytes);
    } else if (hashed_keys != nullptr) {
      hashed_keys->emplace_back(at);
    }
    return true;
  });
}

Result<void> HiveEditor::delete_key(const profile::KeyPath& key) {
  const auto place = place_of(key);
  RS_CHECK(remove_all_within(place.record, nullptr));
  if (!place.is_hashed()) return {};
  // The subkeys of a hashed key lie elsewhere, each key's together.
  std::vector<std::string> open;
  RS_CHECK(remove_all_within(place.hashed_children(), &open));
  while (!open.empty()) {
    auto child = place;
    child.own_hash = open.back().substr(open.back().size() - place.own_hash.size());
    open.pop_back();
    RS_CHECK(remove_all_within(child.hashed_children(), &open));
  }
  return {};
}

Result<void> HiveEditor::put_key(const profile::PutKey& put, const ReadValue& read) {
  const auto place = place_of(put.key);
  if (!put.key.is_root()) {
    RS_TRY(auto parent, find(place_of(put.key.parent()).record));
    if (!parent)
      return fail(ErrorCode::not_found, "key '" + put.key.text() + "' has no key to be in: '" +
                                            put.key.parent().text() + "' does not exist");
  }
  RS_TRY(auto there, find(place.record));
  KeyRecord record;
  if (!store_) {
    edits_[place.record] = Bytes();
    return put_values(put, place, read);
  }
  if (there && put.merge) {
    RS_TRY(auto stored, objects_.load_record(*there));
    RS_TRY(record, parse_key_record(stored));
    record.entry.written_100ns = put.entry.written_100ns;
  } else {
    auto names = put.key.components();
    auto first = place.is_hashed() ? place.anchor_depth : names.empty() ? 0 : names.size() - 1;
    for (auto i = first; i < names.size(); ++i) record.path = record.path.child(names[i]);
    record.entry = put.entry;
  }
  RS_TRY(edits_[place.record], objects_.store_record(encode_record(record)));
  return put_values(put, place, read);
}

Result<void> HiveEditor::put_values(const profile::PutKey& put, const KeyPlace& place,
                                    const ReadValue& read) {
  for (std::size_t i = 0; i < put.values.size(); ++i) {
    const auto& value = put.values[i];
    ValueRecord record{value.name, value.type, value.size_bytes, {}};
    if (!store_) {
      RS_CHECK(edit_value(value_place(place, value.name), Bytes(), value.size_bytes));
      continue;
    }
    if (value.is_inline()) {
      record.content.where = value.data;
    } else {
      ContentChange change{nullptr, 0, value.size_bytes, {{0, value.size_bytes}}, {}};
      change.read_written = [&, i](std::uint64_t offset, MutableByteView out) {
        return read(i, offset, out);
      };
      RS_TRY_CTX(record.content, "value '" + value.name + "'", change_content(objects_, change));
    }
    RS_TRY(auto stored, objects_.store_record(encode_record(record)));
    RS_CHECK(edit_value(value_place(place, value.name), std::move(stored), value.size_bytes));
  }
  for (const auto& name : put.deleted_values) RS_CHECK(edit_value(value_place(place, name), std::nullopt, 0));
  return {};
}

Result<ObjectId> HiveEditor::finish() {
  RS_TRY(auto after, before_.tree().apply(edits_));
  return after.root();
}

}  // namespace roamstead::repository
