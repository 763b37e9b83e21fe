#include "coordinator/cli/volume_text.h"

#include <fmt/format.h>

#include <chrono>

#include "common/ntfs/record.h"
#include "common/ntfs/reparse.h"
#include "common/ntfs/security_text.h"
#include "common/ntfs/usn_journal.h"
#include "common/ntfs/wof.h"
#include "common/volume/partition.h"
#include "coordinator/cli/verbs.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

constexpr std::size_t kRunsShown = 16;  // as text; JSON has them all

std::string label(const char* name) { return fmt::format("{:<12}", name); }

json to_json(const ntfs::FileReference& reference) {
  return {{"record", reference.record}, {"sequence", reference.sequence}};
}

json to_json(const ntfs::FileTimes& times) {
  return {{"created_100ns", times.created},
          {"written_100ns", times.written},
          {"changed_100ns", times.changed},
          {"accessed_100ns", times.accessed}};
}

std::string flags_text(std::uint16_t flags) {
  std::string text;
  if ((flags & 0xFF) != 0) text += ", compressed";
  if ((flags & 0x4000) != 0) text += ", encrypted";
  if ((flags & 0x8000) != 0) text += ", sparse";
  return text;
}

const char* name_space_text(ntfs::NameSpace name_space) {
  switch (name_space) {
    case ntfs::NameSpace::posix:
      return "POSIX";
    case ntfs::NameSpace::win32:
      return "Win32";
    case ntfs::NameSpace::dos:
      return "DOS";
    case ntfs::NameSpace::win32_and_dos:
      return "Win32 & DOS";
  }
  return "";
}

void add_head(Printed& out, const ntfs::FileDetails& details) {
  out.json["reference"] = to_json(details.reference);
  out.json["in_use"] = details.in_use;
  out.json["directory"] = details.directory;
  out.json["attributes"] = details.file_attributes;
  out.json["attribute_names"] = attributes_text(details.file_attributes);
  out.json["times"] = to_json(details.times);
  out.json["owner_id"] = details.owner_id;
  out.json["usn"] = details.usn;
  out.text += label("record") +
              fmt::format("{}, sequence {}{}{}\n", details.reference.record, details.reference.sequence,
                          details.directory ? ", directory" : "", details.in_use ? "" : ", deleted");
  out.text += label("attributes") +
              fmt::format("0x{:x} {}\n", details.file_attributes, attributes_text(details.file_attributes));
  out.text += label("created") + time_text(details.times.created) + '\n';
  out.text += label("written") + time_text(details.times.written) + '\n';
  out.text += label("changed") + time_text(details.times.changed) + '\n';
  out.text += label("accessed") + time_text(details.times.accessed) + '\n';
  if (details.usn != 0) out.text += label("USN") + std::to_string(details.usn) + '\n';
  if (details.object_id) {
    out.json["object_id"] = details.object_id->to_string();
    out.text += label("object id") + details.object_id->to_string() + '\n';
  }
}

void add_names(Printed& out, const ntfs::Volume& volume, const ntfs::FileDetails& details) {
  auto& names = out.json["names"] = json::array();
  for (const auto& each : details.names) {
    json name = {{"name", each.name.name},
                 {"parent", to_json(each.name.parent)},
                 {"name_space", name_space_text(each.name.name_space)},
                 {"times", to_json(each.times)},
                 {"size", each.size_bytes},
                 {"allocated", each.allocated_bytes},
                 {"attributes", each.attributes},
                 {"in_record", each.record}};
    auto path = volume.path_of(each.name);
    if (path)
      name["path"] = *path;
    else
      name["path_error"] = path.error().to_string();
    out.text +=
        label("name") + fmt::format("{} ({}, parent {})\n", path ? *path : each.name.name + " (no path)",
                                    name_space_text(each.name.name_space), each.name.parent.record);
    names.push_back(std::move(name));
  }
}

void add_security(Printed& out, const ntfs::Volume& volume, const ntfs::FileDetails& details,
                  const Result<ntfs::FileRecord>& file) {
  json security = {{"id", details.security_id}};
  Result<Bytes> descriptor = fail(ErrorCode::not_found, "none");
  if (file && !file->own_security_descriptor.empty())
    descriptor = file->own_security_descriptor;
  else if (details.security_id != 0)
    descriptor = volume.security_descriptor(details.security_id);
  const auto text = descriptor ? ntfs::describe_security(*descriptor)
                               : Result<ntfs::SecurityText>(fail(descriptor.error()));
  if (text) {
    security["owner"] = text->owner;
    security["group"] = text->group;
    security["sddl"] = text->sddl;
    out.text += label("security") + fmt::format("id {}, {}\n", details.security_id, text->sddl);
  } else {
    security["error"] = text.error().to_string();
    out.text += label("security") + fmt::format("id {}: {}\n", details.security_id, text.error().to_string());
  }
  out.json["security"] = std::move(security);
}

void add_reparse(Printed& out, const ntfs::Volume& volume, const Result<ntfs::FileRecord>& file) {
  if (!file || !file->reparse_tag) return;
  const auto reparse = ntfs::describe_reparse(*file->reparse_tag, file->reparse_data);
  json described = {{"tag", *file->reparse_tag},
                    {"name", reparse.name},
                    {"microsoft", reparse.microsoft},
                    {"name_surrogate", reparse.name_surrogate},
                    {"damaged", reparse.damaged}};
  for (const auto& [name, value] : reparse.fields) described["fields"][name] = value;
  out.text += label("reparse") + fmt::format("0x{:08x} {}\n", *file->reparse_tag, reparse.to_string());
  if (*file->reparse_tag == ntfs::kWofTag)
    if (const auto content = ntfs::FileContent::open(volume, *file))
      described["content_bytes"] = content->size_bytes();
  out.json["reparse"] = std::move(described);
}

void add_records(Printed& out, const ntfs::FileDetails& details) {
  auto& records = out.json["records"] = json::array();
  for (const auto& each : details.records) {
    records.push_back({{"record", each.number},
                       {"device_offset", each.device_offset},
                       {"sequence", each.sequence},
                       {"links", each.link_count},
                       {"flags", each.flags},
                       {"used_bytes", each.used_bytes},
                       {"log_sequence", each.log_sequence}});
    out.text += label("MFT record") + fmt::format("{} at byte {}, {} links, {} bytes used, LSN {}\n",
                                                  each.number, each.device_offset, each.link_count,
                                                  each.used_bytes, each.log_sequence);
  }
}

void add_runs(Printed& out, const ntfs::AttributeDetails& attribute, json& described) {
  auto& runs = described["runs"] = json::array();
  std::string text;
  for (std::size_t i = 0; i < attribute.runs.size(); ++i) {
    const auto& run = attribute.runs[i];
    json shown = {{"vcn", run.vcn}, {"clusters", run.clusters}, {"sparse", run.sparse}};
    if (!run.sparse) shown["lcn"] = run.lcn;
    runs.push_back(std::move(shown));
    if (i < kRunsShown)
      text += fmt::format("{}{}+{}", i == 0 ? "" : ", ", run.sparse ? "hole" : std::to_string(run.lcn),
                          run.clusters);
  }
  if (attribute.runs.size() > kRunsShown)
    text += fmt::format(" and {} more", attribute.runs.size() - kRunsShown);
  if (!text.empty()) out.text += label("") + "  clusters " + text + '\n';
}

void add_attributes(Printed& out, const ntfs::FileDetails& details) {
  auto& attributes = out.json["attributes_list"] = json::array();
  for (const auto& each : details.attributes) {
    json described = {{"type", each.type},      {"type_name", each.type_name}, {"name", each.name},
                      {"id", each.id},          {"flags", each.flags},         {"in_record", each.record},
                      {"at_byte", each.offset}, {"resident", each.resident},   {"size", each.size_bytes}};
    const auto name = (each.type_name.empty() ? fmt::format("0x{:x}", each.type) : each.type_name) +
                      (each.name.empty() ? "" : ":" + each.name);
    if (each.resident || each.lowest_vcn == 0)
      out.text += label("attribute") + fmt::format("{}, {} bytes{}{}\n", name, each.size_bytes,
                                                   each.resident ? ", resident" : "", flags_text(each.flags));
    else
      out.text += label("attribute") +
                  fmt::format("{} from its cluster {} on (record {})\n", name, each.lowest_vcn, each.record);
    if (!each.resident) {
      described["valid"] = each.valid_bytes;
      described["allocated"] = each.allocated_bytes;
      described["lowest_vcn"] = each.lowest_vcn;
      described["unit_clusters"] = each.unit_clusters;
      add_runs(out, each, described);
    }
    attributes.push_back(std::move(described));
  }
}

const char* severity_text(vdisk::Finding::Severity severity) {
  switch (severity) {
    case vdisk::Finding::Severity::error:
      return "error";
    case vdisk::Finding::Severity::warning:
      return "warning";
    case vdisk::Finding::Severity::note:
      break;
  }
  return "note";
}

}  // namespace

std::string time_text(std::uint64_t time_100ns) {
  using namespace std::chrono;
  constexpr std::uint64_t kUnixEpoch = 116'444'736'000'000'000;
  constexpr std::uint64_t kYear10000 = 2'650'467'744'000'000'000;
  if (time_100ns == 0) return "-";
  if (time_100ns >= kYear10000) return std::to_string(time_100ns);
  const auto total_seconds =
      static_cast<std::int64_t>(time_100ns / 10'000'000) - static_cast<std::int64_t>(kUnixEpoch / 10'000'000);
  const sys_seconds second{seconds(total_seconds)};
  const auto day = floor<days>(second);
  const year_month_day date{day};
  const hh_mm_ss time{second - day};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:07}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     time.hours().count(), time.minutes().count(), time.seconds().count(),
                     time_100ns % 10'000'000);
}

std::string attributes_text(std::uint32_t attributes) {
  static constexpr std::pair<std::uint32_t, const char*> kNames[] = {{0x1, "readonly"},
                                                                     {0x2, "hidden"},
                                                                     {0x4, "system"},
                                                                     {0x10, "directory"},
                                                                     {0x20, "archive"},
                                                                     {0x40, "device"},
                                                                     {0x80, "normal"},
                                                                     {0x100, "temporary"},
                                                                     {0x200, "sparse"},
                                                                     {0x400, "reparse"},
                                                                     {0x800, "compressed"},
                                                                     {0x1000, "offline"},
                                                                     {0x2000, "not-indexed"},
                                                                     {0x4000, "encrypted"},
                                                                     {0x8000, "integrity"},
                                                                     {0x20000, "no-scrub"},
                                                                     {0x40000, "recall-on-open"},
                                                                     {0x80000, "pinned"},
                                                                     {0x100000, "unpinned"},
                                                                     {0x400000, "recall-on-data-access"}};
  std::string text;
  for (const auto& [bit, name] : kNames)
    if ((attributes & bit) != 0) text += (text.empty() ? "" : ",") + std::string(name);
  return text;
}

Printed describe_state(const ntfs::VolumeState& state) {
  Printed out;
  out.json = {{"kind", to_string(state.kind)}, {"clean", state.clean()}, {"remarks", state.remarks}};
  out.text = label("kind") + std::string(to_string(state.kind)) + '\n';
  if (state.kind == ntfs::VolumeKind::ntfs) {
    out.json["label"] = state.label;
    out.json["version"] = fmt::format("{}.{}", state.major_version, state.minor_version);
    out.json["dirty"] = state.dirty;
    out.json["volume_flags"] = state.volume_flags;
    out.json["log"] = to_string(state.log);
    out.json["log_version"] = state.log_version;
    out.json["hibernation"] = to_string(state.hibernation);
    out.json["fast_startup"] = state.fast_startup;
    out.text += label("label") + state.label + '\n';
    out.text += label("version") + fmt::format("{}.{}\n", state.major_version, state.minor_version);
    out.text += label("dirty") + (state.dirty ? "yes\n" : "no\n");
    out.text += label("$LogFile") + std::string(to_string(state.log)) +
                (state.log_version.empty() ? "" : ", version " + state.log_version) + '\n';
    out.text += label("hibernation") + std::string(to_string(state.hibernation)) + '\n';
  }
  for (const auto& remark : state.remarks) out.text += label("attention") + remark + '\n';
  return out;
}

Printed describe_volumes(vdisk::Disk& disk) {
  Printed out{json::array(), ""};
  const auto add = [&](json described, const std::string& name, const vdisk::BlockDevice& device) {
    const auto state = ntfs::volume_state(device);
    auto text = state ? std::string(to_string(state->kind)) : state.error().to_string();
    if (state && state->kind == ntfs::VolumeKind::ntfs)
      text += fmt::format(" \"{}\", {}", state->label, state->clean() ? "clean" : "see `volume stat`");
    described["state"] = state ? describe_state(*state).json : json{{"error", state.error().to_string()}};
    out.text += name + text + '\n';
    out.json.push_back(std::move(described));
  };
  const auto table = volume::read_partition_table(disk);
  if (!table) {
    out.json.push_back({{"error", table.error().to_string()}});
    out.text = table.error().to_string() + '\n';
    return out;
  }
  if (table->kind == volume::TableKind::none) add(json::object(), "", disk);
  for (const auto& each : table->partitions) {
    const vdisk::SubDevice device(disk, each.offset_bytes, each.size_bytes,
                                  fmt::format("partition {}", each.number));
    add({{"partition", each.number}, {"offset", each.offset_bytes}, {"size", each.size_bytes}},
        fmt::format("partition {}: {} at byte {}: ", each.number, human_bytes(each.size_bytes),
                    each.offset_bytes),
        device);
  }
  return out;
}

void add_info(Printed& out, const ntfs::VolumeInfo& info) {
  out.json["sector_bytes"] = info.sector_bytes;
  out.json["cluster_bytes"] = info.cluster_bytes;
  out.json["record_bytes"] = info.record_bytes;
  out.json["volume_bytes"] = info.volume_bytes;
  out.json["records"] = info.record_count;
  out.text +=
      label("size") + fmt::format("{} ({} bytes)\n", human_bytes(info.volume_bytes), info.volume_bytes);
  out.text += label("sectors") + fmt::format("{} bytes\n", info.sector_bytes);
  out.text += label("clusters") + fmt::format("{} bytes\n", info.cluster_bytes);
  out.text += label("MFT records") + fmt::format("{} of {} bytes\n", info.record_count, info.record_bytes);
}

void add_change_journal(Printed& out, const ntfs::Volume& volume) {
  const auto journal = ntfs::UsnJournal::open(volume);
  if (!journal) {
    const bool none = journal.error().code == ErrorCode::not_found;
    out.json["change_journal"] = none ? json() : json{{"error", journal.error().to_string()}};
    out.text += label("$UsnJrnl") + (none ? "none" : journal.error().to_string()) + '\n';
    return;
  }
  std::uint64_t renames = 0, newest_100ns = 0;
  const auto read = journal->read(0, [&](const ntfs::UsnRecord& record) {
    renames += (record.reason & ntfs::kUsnRenameNewName) != 0 && (record.reason & ntfs::kUsnClose) == 0;
    newest_100ns = record.time_100ns;
    return true;
  });
  out.json["change_journal"] = {
      {"id", journal->id()}, {"first_usn", journal->first_usn()}, {"next_usn", journal->next_usn()}};
  out.text += label("$UsnJrnl") +
              fmt::format("id {:#x}, USN {} to {}", journal->id(), journal->first_usn(), journal->next_usn());
  if (!read) {
    out.json["change_journal"]["error"] = read.error().to_string();
    out.text += ": " + read.error().to_string() + '\n';
    return;
  }
  out.json["change_journal"].update({{"read_from_usn", read->from_usn},
                                     {"records", read->records},
                                     {"renames", renames},
                                     {"newest_100ns", newest_100ns},
                                     {"damaged_pages", read->damaged_pages}});
  out.text += fmt::format(": {} records, {} renames, the newest of {}", read->records, renames,
                          time_text(newest_100ns));
  if (read->damaged_pages != 0) out.text += fmt::format("; {} damaged pages", read->damaged_pages);
  out.text += '\n';
}

Printed describe_file(const ntfs::Volume& volume, const ntfs::FileDetails& details) {
  Printed out;
  const auto file = volume.record(details.reference.record);
  add_head(out, details);
  add_names(out, volume, details);
  add_security(out, volume, details, file);
  add_reparse(out, volume, file);
  add_records(out, details);
  add_attributes(out, details);
  out.json["problems"] = details.problems;
  for (const auto& problem : details.problems) out.text += label("problem") + problem + '\n';
  if (!file && details.in_use) {
    out.json["problems"].push_back(file.error().to_string());
    out.text += label("problem") + file.error().to_string() + '\n';
  }
  return out;
}

Printed describe_report(const ntfs::VolumeCheckReport& report) {
  Printed out;
  auto findings = json::array();
  for (const auto& finding : report.findings) {
    findings.push_back(
        {{"severity", severity_text(finding.severity)}, {"offset", finding.offset}, {"text", finding.text}});
    out.text +=
        fmt::format("{} at byte {}: {}\n", severity_text(finding.severity), finding.offset, finding.text);
  }
  const auto all = report.errors + report.warnings + report.notes;
  if (all > report.findings.size()) out.text += fmt::format("… and {} more\n", all - report.findings.size());
  out.text +=
      fmt::format("{} files, {} folders, {} clusters used, {} leaked: {} errors, {} warnings, {} notes\n",
                  report.files, report.directories, report.used_clusters, report.leaked_clusters,
                  report.errors, report.warnings, report.notes);
  out.json = {{"findings", findings},
              {"errors", report.errors},
              {"warnings", report.warnings},
              {"notes", report.notes},
              {"files", report.files},
              {"directories", report.directories},
              {"used_clusters", report.used_clusters},
              {"leaked_clusters", report.leaked_clusters}};
  return out;
}

}  // namespace roamstead::cli
