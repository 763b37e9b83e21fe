#include "coordinator/repository/merge.h"

#include <set>

#include "common/base/text.h"
#include "coordinator/repository/merge_builder.h"

namespace roamstead::repository {
namespace {

using profile::EntryKind;
using profile::ProfilePath;
using Kind = MergeConflict::Kind;

constexpr int kMaxMergeDepth = 4096;                   // as for differences (tree.cpp)
constexpr std::size_t kMostComparedPieces = 1u << 20;  // of a file of 64 GiB; a larger one is taken whole

// The values that a directory's pages hold of one name; empty: none. Equal values are equal nodes with all
// below.
struct Three {
  Bytes base, ours, theirs;
};
using Names = std::map<std::string, Three, KeyLess>;

template <class T>
T merged_field(const T* base, const T& ours, const T& theirs) {
  return base != nullptr && ours == *base ? theirs : ours;
}

profile::Metadata merged_metadata(const Node* base, const Node& ours, const Node& theirs) {
  const auto* before = base == nullptr ? nullptr : &base->entry.metadata;
  const auto& mine = ours.entry.metadata;
  const auto& other = theirs.entry.metadata;
  profile::Metadata merged;
  merged.attributes = merged_field(before ? &before->attributes : nullptr, mine.attributes, other.attributes);
  merged.created_100ns =
      merged_field(before ? &before->created_100ns : nullptr, mine.created_100ns, other.created_100ns);
  merged.written_100ns =
      merged_field(before ? &before->written_100ns : nullptr, mine.written_100ns, other.written_100ns);
  merged.security = merged_field(before ? &before->security : nullptr, mine.security, other.security);
  return merged;
}

// The ranges of a stream that are not, piece by piece, at the same place in another.
Result<std::vector<ByteRange>> differing_ranges(ProfileObjects& objects, const Content& from,
                                                const MergeSource& to) {
  std::vector<ByteRange> ranges;
  if (to.size_bytes == 0) return ranges;
  const std::vector<ByteRange> all{{0, to.size_bytes}};
  if (std::holds_alternative<Bytes>(from.where) || std::holds_alternative<Bytes>(to.content.where))
    return all;
  std::map<std::uint64_t, Piece> there;
  RS_CHECK(visit_pieces(objects, from, 0, [&](std::uint64_t offset, const Piece& piece) -> Result<bool> {
    there[offset] = piece;
    return there.size() <= kMostComparedPieces;
  }));
  if (there.size() > kMostComparedPieces) return all;
  RS_CHECK(
      visit_pieces(objects, to.content, 0, [&](std::uint64_t offset, const Piece& piece) -> Result<bool> {
        auto same = there.find(offset);
        if (same != there.end() && same->second == piece) return true;
        if (!ranges.empty() && ranges.back().end() == offset)
          ranges.back().length += piece.length;
        else
          ranges.push_back({offset, piece.length});
        return true;
      }));
  return ranges;
}

class TreeMerger {
 public:
  explicit TreeMerger(MergeBuilder& builder) : builder_(builder), objects_(builder.objects()) {}

  Result<void> directory(const ProfilePath& path, const ObjectId& base, const ObjectId& ours,
                         const ObjectId& theirs, int depth) {
    if (theirs == base || theirs == ours) return {};
    if (depth > kMaxMergeDepth) return fail(ErrorCode::corrupt, "'" + path.text() + "' lies too deep");
    Names names{KeyLess{KeyOrder::names}};
    RS_CHECK(collect(names, base, &Three::base));
    RS_CHECK(collect(names, ours, &Three::ours));
    RS_CHECK(collect(names, theirs, &Three::theirs));
    std::set<std::string> made;  // names of copies
    for (const auto& [name, values] : names) {
      if (values.theirs == values.base || values.theirs == values.ours) continue;
      RS_CHECK(entry(path, name, values, names, made, depth));
    }
    return {};
  }

  // Of the profile's root, whose metadata has no directory to be in.
  void root(const Node& base, const Node& ours, const Node& theirs) {
    put_metadata({}, ours, merged_metadata(&base, ours, theirs));
  }

 private:
  struct Nodes {
    std::optional<Node> base, ours, theirs;
  };

  Result<void> collect(Names& names, const ObjectId& root, Bytes Three::*member) {
    return PageTree(objects_, KeyOrder::names, root)
        .scan("", [&](std::string_view name, ByteView value) -> Result<bool> {
          names[std::string(name)].*member = to_bytes(value);
          return true;
        });
  }
  Result<std::optional<Node>> load(const Bytes& value) {
    if (value.empty()) return std::optional<Node>();
    RS_TRY(auto node, objects_.load_node(value));
    return std::optional<Node>(std::move(node));
  }
  static ObjectId children_of(const std::optional<Node>& node) {
    return node && node->entry.is_directory() ? node->children : ObjectId{};
  }

  // Theirs is neither as it was nor as ours is.
  Result<void> entry(const ProfilePath& parent, const std::string& name, const Three& values,
                     const Names& names, std::set<std::string>& made, int depth) {
    Nodes nodes;
    RS_TRY(nodes.base, load(values.base));
    RS_TRY(nodes.ours, load(values.ours));
    RS_TRY(nodes.theirs, load(values.theirs));
    auto path = parent.child(name);
    const auto& [base, ours, theirs] = nodes;
    if (ours && theirs && ours->entry.is_directory() && theirs->entry.is_directory()) {
      put_metadata(path, *ours, merged_metadata(base ? &*base : nullptr, *ours, *theirs));
      return directory(path, children_of(base), ours->children, theirs->children, depth + 1);
    }
    if (values.ours == values.base) return take(path, nodes, depth);
    if (!theirs) return keep_what_ours_changed(path, nodes, depth);
    if (!ours) return bring_back(path, nodes, depth);
    if (ours->entry.kind == EntryKind::file && theirs->entry.kind == EntryKind::file) {
      RS_TRY(bool merged, merge_files(path, nodes));
      if (merged) return {};
    } else if (ours->entry.kind == EntryKind::registry && theirs->entry.kind == EntryKind::registry) {
      put_metadata(path, *ours, merged_metadata(base ? &*base : nullptr, *ours, *theirs));
      auto before = base && base->entry.kind == EntryKind::registry ? base->children : ObjectId{};
      return merge_hives(builder_, path, before, ours->children, theirs->children);
    }
    if (theirs->entry.kind == EntryKind::registry) {  // a hive can be nowhere else
      builder_.note(Kind::both_changed, path.text());
      return {};
    }
    auto copy = copy_name(name, names, made);
    builder_.note(Kind::both_changed, path.text(), parent.child(copy).text());
    auto loser = *theirs;
    loser.entry.link_group = 0;
    return add(parent.child(copy), loser, depth);
  }

  // Ours is as it was.
  Result<void> take(const ProfilePath& path, const Nodes& nodes, int depth) {
    const auto& [base, ours, theirs] = nodes;
    if (!theirs) {
      builder_.remove(path);
      return {};
    }
    if (ours && ours->entry.is_directory() != theirs->entry.is_directory()) {
      builder_.remove(path);
      return add(path, *theirs, depth);
    }
    if (ours && ours->entry.kind == EntryKind::registry && theirs->entry.kind == EntryKind::registry) {
      put_metadata(path, *ours, theirs->entry.metadata);
      return merge_hives(builder_, path, ours->children, ours->children, theirs->children);
    }
    if (ours && ours->entry.kind == EntryKind::file && theirs->entry.kind == EntryKind::file)
      return put_over(path, *ours, *theirs, theirs->entry.metadata);
    return add(path, *theirs, depth);
  }

  // Theirs deleted it, perhaps with what it was in: then that is noted already.
  Result<void> keep_what_ours_changed(const ProfilePath& path, const Nodes& nodes, int depth,
                                      bool noted = false) {
    const auto& [base, ours, theirs] = nodes;
    if (!base->entry.is_directory() || !ours->entry.is_directory()) {
      builder_.note(Kind::deleted_theirs, path.text());
      return {};
    }
    RS_TRY(bool changed, has_changes(base->children, ours->children, depth));
    if (!changed) {
      builder_.remove(path);
      return {};
    }
    if (!noted) builder_.note(Kind::deleted_theirs, path.text());
    return for_each_pair(
        base->children, ours->children,
        [&](const std::string& name, const Bytes& before, const Bytes& mine) -> Result<void> {
          auto child = path.child(name);
          if (mine.empty() || before.empty()) return {};
          if (mine == before) {
            builder_.remove(child);
            return {};
          }
          Nodes below;
          RS_TRY(below.base, load(before));
          RS_TRY(below.ours, load(mine));
          return keep_what_ours_changed(child, below, depth + 1, true);
        });
  }

  // Ours deleted it, perhaps with what it was in.
  Result<void> bring_back(const ProfilePath& path, const Nodes& nodes, int depth, bool noted = false) {
    const auto& [base, ours, theirs] = nodes;
    if (!base->entry.is_directory() || !theirs->entry.is_directory()) {
      builder_.note(Kind::deleted_ours, path.text());
      return add(path, *theirs, depth);
    }
    RS_TRY(bool changed, has_changes(base->children, theirs->children, depth));
    if (!changed) return {};
    if (!noted) builder_.note(Kind::deleted_ours, path.text());
    RS_CHECK(put_alone(path, *theirs));
    return for_each_pair(
        base->children, theirs->children,
        [&](const std::string& name, const Bytes& before, const Bytes& other) -> Result<void> {
          if (other.empty() || other == before) return {};
          Nodes below;
          RS_TRY(below.base, load(before));
          RS_TRY(below.theirs, load(other));
          if (!below.base) return add(path.child(name), *below.theirs, depth + 1);
          return bring_back(path.child(name), below, depth + 1, true);
        });
  }

  // Whether anything was added or changed below a directory; directories' own attributes do not count.
  Result<bool> has_changes(const ObjectId& before, const ObjectId& after, int depth) {
    if (before == after) return false;
    if (depth > kMaxMergeDepth) return fail(ErrorCode::corrupt, "folders lie too deep");
    bool found = false;
    RS_CHECK(for_each_pair(
        before, after, [&](const std::string&, const Bytes& was, const Bytes& is) -> Result<void> {
          if (found || is.empty() || is == was) return {};
          RS_TRY(auto old_node, load(was));
          RS_TRY(auto new_node, load(is));
          if (!old_node || !old_node->entry.is_directory() || !new_node->entry.is_directory()) {
            found = true;
            return {};
          }
          RS_TRY(found, has_changes(old_node->children, new_node->children, depth + 1));
          return {};
        }));
    return found;
  }

  Result<void> for_each_pair(
      const ObjectId& before, const ObjectId& after,
      const std::function<Result<void>(const std::string&, const Bytes&, const Bytes&)>& visit) {
    Names names{KeyLess{KeyOrder::names}};
    RS_CHECK(collect(names, before, &Three::base));
    RS_CHECK(collect(names, after, &Three::ours));
    for (const auto& [name, values] : names) RS_CHECK(visit(name, values.base, values.ours));
    return {};
  }

  // Both changed a file. False: in ways that cannot be merged.
  Result<bool> merge_files(const ProfilePath& path, const Nodes& nodes) {
    const auto& [base, ours, theirs] = nodes;
    const auto* before = base && base->entry.kind == EntryKind::file ? &*base : nullptr;
    auto metadata = merged_metadata(before, *ours, *theirs);
    RS_TRY(bool equal, same_content(*ours, *theirs));
    if (!equal && before != nullptr) {
      RS_TRY(equal, same_content(*before, *theirs));
    }
    if (equal) {  // theirs brings no content
      put_metadata(path, *ours, metadata);
      return true;
    }
    bool only_theirs = false;
    if (before != nullptr) {
      RS_TRY(only_theirs, same_content(*before, *ours));
    }
    if (only_theirs) RS_CHECK(put_over(path, *ours, *theirs, metadata));
    return only_theirs;
  }

  Result<bool> same_content(const Node& a, const Node& b) {
    if (a.entry.streams != b.entry.streams) return false;
    RS_TRY(bool same, same_bytes(objects_, {a.unnamed, a.entry.size_bytes}, {b.unnamed, b.entry.size_bytes}));
    for (std::size_t i = 0; same && i < a.streams.size(); ++i) {
      auto size = a.entry.streams[i].size_bytes;
      RS_TRY(same, same_bytes(objects_, {a.streams[i], size}, {b.streams[i], size}));
    }
    return same;
  }

  void put_metadata(const ProfilePath& path, const Node& ours, const profile::Metadata& metadata) {
    if (metadata == ours.entry.metadata) return;
    profile::Put put;
    put.path = path;
    put.entry = ours.entry;
    put.entry.metadata = metadata;
    if (put.entry.kind == EntryKind::file || !put.entry.streams.empty()) put.base = path;
    builder_.put(std::move(put), {});
  }

  // Theirs in the place of ours: what the two have in common is taken from ours.
  Result<void> put_over(const ProfilePath& path, const Node& ours, const Node& theirs,
                        const profile::Metadata& metadata) {
    profile::Put put;
    put.path = path;
    put.base = path;
    put.entry = theirs.entry;
    put.entry.metadata = metadata;
    std::vector<MergeSource> sources;
    auto stream = [&](const std::string& name, const Content& content, std::uint64_t size) -> Result<void> {
      std::uint64_t there_bytes = 0;
      const auto* there = ours.find_stream(name, there_bytes);
      MergeSource source{content, size};
      std::vector<ByteRange> writes;
      if (size != 0) writes.push_back({0, size});
      if (there != nullptr) {
        RS_TRY(writes, differing_ranges(objects_, *there, source));
      }
      put.contents.push_back({name, size, std::move(writes)});
      sources.push_back(std::move(source));
      return {};
    };
    RS_CHECK(stream("", theirs.unnamed, theirs.entry.size_bytes));
    for (std::size_t i = 0; i < theirs.streams.size(); ++i)
      RS_CHECK(stream(theirs.entry.streams[i].name, theirs.streams[i], theirs.entry.streams[i].size_bytes));
    builder_.put(std::move(put), std::move(sources));
    return {};
  }

  // A node without what is below it.
  Result<void> put_alone(const ProfilePath& path, const Node& node) {
    profile::Put put;
    put.path = path;
    put.entry = node.entry;
    std::vector<MergeSource> sources;
    auto stream = [&](const std::string& name, const Content& content, std::uint64_t size) {
      std::vector<ByteRange> writes;
      if (size != 0) writes.push_back({0, size});
      put.contents.push_back({name, size, std::move(writes)});
      sources.push_back({content, size});
    };
    if (node.entry.kind == EntryKind::file) stream("", node.unnamed, node.entry.size_bytes);
    for (std::size_t i = 0; i < node.streams.size(); ++i)
      stream(node.entry.streams[i].name, node.streams[i], node.entry.streams[i].size_bytes);
    builder_.put(std::move(put), std::move(sources));
    return {};
  }

  // A node with all below it, where nothing is.
  Result<void> add(const ProfilePath& path, const Node& node, int depth) {
    if (depth > kMaxMergeDepth) return fail(ErrorCode::corrupt, "'" + path.text() + "' lies too deep");
    RS_CHECK(put_alone(path, node));
    if (node.entry.kind == EntryKind::registry)
      return merge_hives(builder_, path, ObjectId{}, ObjectId{}, node.children);
    if (!node.entry.is_directory()) return {};
    return PageTree(objects_, KeyOrder::names, node.children)
        .scan("", [&](std::string_view name, ByteView value) -> Result<bool> {
          RS_TRY(auto child, objects_.load_node(value));
          RS_CHECK(add(path.child(name), child, depth + 1));
          return true;
        });
  }

  // "report (conflict, desk-b, version 7).docx", or with a number where that is taken; within what NTFS
  // takes.
  std::string copy_name(const std::string& name, const Names& names, std::set<std::string>& made) {
    auto dot = name.rfind('.');
    if (dot == 0 || dot == std::string::npos || name.size() - dot > 32) dot = name.size();
    auto stem = name.substr(0, dot), ending = name.substr(dot);
    for (unsigned number = 1;; ++number) {
      auto addition = " (conflict, " + builder_.label() + (number > 1 ? ", " + std::to_string(number) : "") +
                      ")" + ending;
      auto short_stem = stem;
      while (!profile::check_name(short_stem + addition) && !short_stem.empty()) {
        // A whole character at a time.
        do {
          auto last = static_cast<unsigned char>(short_stem.back());
          short_stem.pop_back();
          if ((last & 0xC0) != 0x80) break;
        } while (!short_stem.empty());
      }
      auto copy = short_stem + addition;
      if (names.count(copy) == 0 && made.insert(copy).second) return copy;
    }
  }

  MergeBuilder& builder_;
  ProfileObjects& objects_;
};

}  // namespace

Result<MergePlan> plan_merge(const TreeView& base, const TreeView& ours, const TreeView& theirs,
                             const std::string& label) {
  MergeBuilder builder(theirs.objects(), label);
  TreeMerger merger(builder);
  merger.root(base.root(), ours.root(), theirs.root());
  RS_CHECK(merger.directory({}, base.root().children, ours.root().children, theirs.root().children, 0));
  return builder.finish();
}

}  // namespace roamstead::repository
