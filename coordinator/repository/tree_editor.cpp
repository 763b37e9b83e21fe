#include "coordinator/repository/tree_editor.h"

#include <algorithm>

#include "coordinator/repository/tree_size.h"

namespace roamstead::repository {
namespace {

// Bounds recursion; Windows paths of 32,767 units with long names are far below.
constexpr std::size_t kMaxPathDepth = 1000;

tl::unexpected<Error> refuse(ErrorCode code, const profile::ProfilePath& path, const std::string& why) {
  return fail(code, "batch: '" + path.text() + "' " + why);
}

Result<void> check_depth(const profile::ProfilePath& path) {
  if (path.depth() > kMaxPathDepth)
    return refuse(ErrorCode::unsupported, path, "lies more than 1,000 folders deep");
  return {};
}

}  // namespace

// A file or directory that was looked at or changed. Children that are not here are as the node's pages say.
struct TreeEditor::Item {
  Node node;
  std::map<std::string, ItemPointer, KeyLess> children{KeyLess{KeyOrder::names}};  // null: gone
  std::unique_ptr<HiveEditor> hive;                                                // of one whose keys change
};

TreeEditor::TreeEditor(const TreeView& before, ProfileObjects& objects, bool store)
    : before_(before), objects_(objects), store_(store), root_(std::make_unique<Item>()) {
  root_->node = before.root();
}
TreeEditor::~TreeEditor() = default;

std::int64_t TreeEditor::grown_bytes() const {
  auto grown = grown_bytes_;
  for (const auto* hive : hives_) grown += hive->grown_bytes();
  return grown;
}

// Of an item and what is still in it: what was moved away or deleted by a record of its own is not.
Result<std::uint64_t> TreeEditor::bytes_within(const Item& item) {
  auto bytes = content_bytes(item.node);
  if (item.node.entry.kind == profile::EntryKind::registry) {
    RS_TRY(auto values, hive_bytes(objects_, item.node.children));
    return bytes + values;
  }
  if (!item.node.entry.is_directory()) return bytes;
  for (const auto& [name, child] : item.children) {
    if (!child) continue;
    RS_TRY(auto below, bytes_within(*child));
    bytes += below;
  }
  RS_CHECK(PageTree(objects_, KeyOrder::names, item.node.children)
               .scan("", [&](std::string_view name, ByteView value) -> Result<bool> {
                 if (item.children.find(name) != item.children.end()) return true;
                 RS_TRY(auto node, objects_.load_node(value));
                 RS_TRY(auto below, tree_bytes(objects_, node));
                 bytes += below;
                 return true;
               }));
  return bytes;
}

Result<TreeEditor::Item*> TreeEditor::open_child(Item& parent, std::string_view name) {
  auto known = parent.children.find(name);
  if (known != parent.children.end()) return known->second.get();
  RS_TRY(auto node, before_.child(parent.node, name));
  if (!node) return nullptr;
  auto item = std::make_unique<Item>();
  item->node = std::move(*node);
  return parent.children.emplace(std::string(name), std::move(item)).first->second.get();
}

Result<TreeEditor::Item*> TreeEditor::open(const profile::ProfilePath& path) {
  RS_CHECK(check_depth(path));
  auto* item = root_.get();
  for (auto name : path.components()) {
    if (!item->node.entry.is_directory()) return nullptr;
    RS_TRY(item, open_child(*item, name));
    if (item == nullptr) return nullptr;
  }
  return item;
}

Result<TreeEditor::Item*> TreeEditor::open_parent(const profile::ProfilePath& target) {
  RS_TRY(auto* parent, open(target.parent()));
  if (parent == nullptr)
    return refuse(ErrorCode::not_found, target,
                  "has no folder to be in: '" + target.parent().text() + "' does not exist");
  if (!parent->node.entry.is_directory())
    return refuse(ErrorCode::invalid_argument, target,
                  "has no folder to be in: '" + target.parent().text() + "' is a file");
  return parent;
}

Result<TreeEditor::ItemPointer> TreeEditor::detach(const profile::ProfilePath& source) {
  RS_TRY(auto* item, open(source));
  if (item == nullptr)
    return refuse(ErrorCode::not_found, source, "is not in version " + std::to_string(before_.version()));
  RS_TRY(auto* parent, open(source.parent()));
  return std::move(parent->children.find(source.name())->second);  // leaves null: gone
}

Result<void> TreeEditor::attach(const profile::ProfilePath& target, ItemPointer item) {
  RS_CHECK(check_depth(target));
  RS_TRY(auto* parent, open_parent(target));
  RS_TRY(auto* there, open_child(*parent, target.name()));
  if (there != nullptr)
    return refuse(ErrorCode::exists, target, "is taken: it exists and is neither deleted nor moved away");
  parent->children[std::string(target.name())] = std::move(item);
  return {};
}

Result<Content> TreeEditor::make_stream(const profile::Put& put, const Node* base, const std::string& name,
                                        std::uint64_t size_bytes, std::size_t record,
                                        profile::ContentSource& content) {
  std::uint64_t base_bytes = 0;
  const auto* base_content = base == nullptr ? nullptr : base->find_stream(name, base_bytes);
  for (std::size_t i = 0; i < put.contents.size(); ++i) {
    const auto& changed = put.contents[i];
    if (changed.name != name) continue;
    ContentChange change{base_content, base_bytes, size_bytes, changed.writes, {}};
    change.read_written = [&, i](std::uint64_t offset, MutableByteView out) {
      return content.read(record, i, offset, out);
    };
    return change_content(objects_, change);
  }
  if (base_content != nullptr && base_bytes == size_bytes) return *base_content;
  if (base_content == nullptr && size_bytes == 0) return Content{};
  return refuse(ErrorCode::invalid_argument, put.path,
                "lists stream '" + name + "' of " + std::to_string(size_bytes) +
                    " bytes without content, and " +
                    (base_content == nullptr ? "there is no base to take it from"
                                             : "the base's has " + std::to_string(base_bytes)));
}

Result<void> TreeEditor::put(const profile::Put& put, std::size_t record, profile::ContentSource& content) {
  RS_CHECK(check_depth(put.path));
  if (put.entry.kind > profile::kLastEntryKind || put.entry.size_bytes > kMaxStreamBytes)
    return refuse(ErrorCode::invalid_argument, put.path, "is of an unknown kind or impossible size");
  Item* item = root_.get();
  auto before_bytes = content_bytes(item->node);
  if (!put.path.is_root()) {
    RS_TRY(auto* parent, open_parent(put.path));
    RS_TRY(item, open_child(*parent, put.path.name()));
    if (item == nullptr)
      item = (parent->children[std::string(put.path.name())] = std::make_unique<Item>()).get();
    else if (item->node.entry.is_directory() != put.entry.is_directory())
      return refuse(ErrorCode::exists, put.path,
                    put.entry.is_directory() ? "is a file and not deleted" : "is a folder and not deleted");
    before_bytes = content_bytes(item->node);
    if (item->node.entry.kind == profile::EntryKind::registry && item->node.entry.kind != put.entry.kind) {
      RS_TRY(auto values, hive_bytes(objects_, item->node.children));
      before_bytes += values;
    }
  }
  std::optional<Node> base;
  if (put.base) {
    RS_TRY_CTX(base, "batch: base of '" + put.path.text() + "'", before_.node(*put.base));
  }
  Node made;
  made.entry = put.entry;
  // A hive in the place of a plain file is a new one.
  if (item->node.entry.kind == put.entry.kind) made.children = item->node.children;
  auto* base_node = base ? &*base : nullptr;
  grown_bytes_ +=
      static_cast<std::int64_t>(content_bytes(put.entry)) - static_cast<std::int64_t>(before_bytes);
  if (!store_) made.streams.resize(put.entry.streams.size());
  if (store_ && put.entry.kind == profile::EntryKind::file) {
    RS_TRY(made.unnamed, make_stream(put, base_node, "", put.entry.size_bytes, record, content));
  }
  for (const auto& stream : put.entry.streams) {
    if (!store_) break;
    RS_TRY(auto made_stream, make_stream(put, base_node, stream.name, stream.size_bytes, record, content));
    made.streams.push_back(std::move(made_stream));
  }
  item->node = std::move(made);
  // A hive that has no page yet is written, though it may get no key.
  if (item->node.entry.kind == profile::EntryKind::registry && item->node.children.is_zero())
    item->hive = std::make_unique<HiveEditor>(objects_, ObjectId{}, store_);
  else
    item->hive.reset();
  return {};
}

Result<HiveEditor*> TreeEditor::open_hive(const profile::ProfilePath& hive) {
  RS_TRY(auto* item, open(hive));
  if (item == nullptr || item->node.entry.kind != profile::EntryKind::registry)
    return refuse(ErrorCode::not_found, hive,
                  item == nullptr ? "is a hive that does not exist" : "is no hive");
  if (!item->hive) item->hive = std::make_unique<HiveEditor>(objects_, item->node.children, store_);
  if (std::find(hives_.begin(), hives_.end(), item->hive.get()) == hives_.end())
    hives_.push_back(item->hive.get());
  return item->hive.get();
}

// Hives are looked up in the tree as it is now; deletions first.
Result<void> TreeEditor::apply_keys(const profile::Batch& batch, profile::ContentSource& content) {
  std::vector<std::pair<std::string, std::size_t>>
      puts;  // by upcased path: parents first, neighbours together
  for (std::size_t i = 0; i < batch.records.size(); ++i) {
    if (const auto* put = std::get_if<profile::PutKey>(&batch.records[i]))
      puts.emplace_back(profile::upcased(put->key), i);
    const auto* gone = std::get_if<profile::DeleteKey>(&batch.records[i]);
    if (gone == nullptr) continue;
    RS_TRY(auto* hive, open_hive(gone->hive));
    RS_CHECK_CTX("batch: hive '" + gone->hive.text() + "'", hive->delete_key(gone->key));
  }
  std::sort(puts.begin(), puts.end());
  for (const auto& [path, index] : puts) {
    const auto& put = std::get<profile::PutKey>(batch.records[index]);
    RS_TRY(auto* hive, open_hive(put.hive));
    auto record = index;
    RS_CHECK_CTX("batch: hive '" + put.hive.text() + "'",
                 hive->put_key(put, [&](std::size_t value, std::uint64_t offset, MutableByteView out) {
                   return content.read(record, value, offset, out);
                 }));
  }
  return {};
}

Result<void> TreeEditor::apply(const profile::Batch& batch, profile::ContentSource& content) {
  struct Take {
    const profile::ProfilePath* source;
    const profile::ProfilePath* target;  // null: deleted
    ItemPointer item;
  };
  std::vector<Take> takes;
  for (const auto& record : batch.records) {
    if (const auto* gone = std::get_if<profile::Delete>(&record))
      takes.push_back({&gone->source, nullptr, nullptr});
    if (const auto* move = std::get_if<profile::Move>(&record))
      takes.push_back({&move->source, &move->target, nullptr});
  }
  std::stable_sort(takes.begin(), takes.end(),
                   [](const Take& a, const Take& b) { return a.source->depth() > b.source->depth(); });
  for (auto& take : takes) {
    RS_TRY(take.item, detach(*take.source));
    if (take.target != nullptr) continue;
    RS_TRY(auto gone, bytes_within(*take.item));
    grown_bytes_ -= static_cast<std::int64_t>(gone);
  }

  // What appears: moves (null put) before puts at the same depth, since a put may change what a move brings.
  struct Appear {
    std::size_t depth;
    bool is_put;
    std::size_t index;
  };
  std::vector<Appear> order;
  for (std::size_t i = 0; i < takes.size(); ++i)
    if (takes[i].target != nullptr) order.push_back({takes[i].target->depth(), false, i});
  for (std::size_t i = 0; i < batch.records.size(); ++i)
    if (const auto* made = std::get_if<profile::Put>(&batch.records[i]))
      order.push_back({made->path.depth(), true, i});
  std::stable_sort(order.begin(), order.end(), [](const Appear& a, const Appear& b) {
    return a.depth != b.depth ? a.depth < b.depth : a.is_put < b.is_put;
  });
  for (const auto& next : order) {
    if (next.is_put)
      RS_CHECK(put(std::get<profile::Put>(batch.records[next.index]), next.index, content));
    else
      RS_CHECK(attach(*takes[next.index].target, std::move(takes[next.index].item)));
  }
  return apply_keys(batch, content);
}

Result<void> TreeEditor::write_out(Item& item) {
  if (item.hive) {
    RS_TRY(item.node.children, item.hive->finish());
  }
  auto edits = no_edits(KeyOrder::names);
  for (auto& [name, child] : item.children) {
    if (!child) {
      edits.emplace(name, std::nullopt);
      continue;
    }
    RS_CHECK(write_out(*child));
    RS_TRY(auto value, objects_.store_node(child->node));
    edits.emplace(name, std::move(value));
  }
  if (edits.empty()) return {};
  RS_TRY(auto tree, PageTree(objects_, KeyOrder::names, item.node.children).apply(edits));
  item.node.children = tree.root();
  return {};
}

Result<Node> TreeEditor::finish() {
  RS_CHECK(write_out(*root_));
  return root_->node;
}

}  // namespace roamstead::repository
