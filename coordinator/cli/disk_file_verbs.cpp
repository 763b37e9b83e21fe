// roamstead disk convert, compact and check: what is done with a disk's files as a whole.
#include "common/vdisk/check.h"
#include "common/vdisk/convert.h"
#include "coordinator/cli/verbs.h"
#include "coordinator/crosscheck/cross_check.h"
#include "coordinator/foreign/nbd_disk.h"

namespace roamstead::cli {
namespace {

using nlohmann::json;

struct FileOptions {
  std::string path;
  std::string target;
  std::string format;
  bool fixed = false;
  bool cross = false;
  vdisk::OpenOptions open;
};

Result<void> convert(const Context& context, const FileOptions& options) {
  vdisk::ConvertOptions convert;
  RS_TRY(convert.format,
         options.format.empty() ? format_for(options.target) : vdisk::parse_format(options.format));
  if (options.fixed) convert.create.kind = vdisk::LayerKind::fixed;
  RS_TRY(const auto source, foreign::open_any_disk(os::real_file_system(), options.path, options.open));
  auto done = vdisk::convert_disk(os::real_file_system(), *source, options.target, convert,
                                  [&](auto now, auto total) { context.progress("converting", now, total); });
  context.end_progress();
  RS_TRY(auto converted, std::move(done));
  context.print({{"path", options.target},
                 {"format", to_string(convert.format)},
                 {"virtual_bytes", converted.virtual_bytes},
                 {"copied_bytes", converted.copied_bytes}},
                options.target + ": " + human_bytes(converted.virtual_bytes) + ", " +
                    human_bytes(converted.copied_bytes) + " of it content");
  return {};
}

Result<void> compact(const Context& context, const FileOptions& options) {
  auto done = vdisk::compact_disk(os::real_file_system(), options.path,
                                  [&](auto now, auto total) { context.progress("compacting", now, total); });
  context.end_progress();
  RS_TRY(auto compacted, std::move(done));
  context.print({{"path", options.path},
                 {"file_bytes_before", compacted.file_before},
                 {"file_bytes", compacted.file_after},
                 {"held_bytes_before", compacted.held_before},
                 {"held_bytes", compacted.held_after}},
                options.path + ": " + human_bytes(compacted.file_before) + " before, " +
                    human_bytes(compacted.file_after) + " now");
  return {};
}

std::string_view severity_name(vdisk::Finding::Severity severity) {
  switch (severity) {
    case vdisk::Finding::Severity::error:
      return "error";
    case vdisk::Finding::Severity::warning:
      return "warning";
    case vdisk::Finding::Severity::note:
      return "note";
  }
  return "";
}

json to_json(const vdisk::DiskCheck& check, std::string& text) {
  auto layers = json::array();
  for (const auto& layer : check.layers) {
    auto findings = json::array();
    for (const auto& finding : layer.findings) {
      auto name = severity_name(finding.severity);
      findings.push_back({{"severity", name}, {"offset", finding.offset}, {"text", finding.text}});
      text += layer.path + ": " + std::string(name) + " at offset " + std::to_string(finding.offset) + ": " +
              finding.text + "\n";
    }
    layers.push_back(
        {{"path", layer.path}, {"format", vdisk::to_string(layer.format)}, {"findings", findings}});
  }
  json described{{"layers", layers}, {"opens", !check.refused.has_value()}};
  if (check.refused) {
    described["refused"] = check.refused->to_string();
    text += "does not open: " + check.refused->to_string() + "\n";
  }
  return described;
}

json to_json(const crosscheck::CrossCheck& cross, std::string& text) {
  auto differences = json::array();
  for (const auto& each : cross.differences) {
    differences.push_back(
        {{"offset", each.range.offset}, {"length", each.range.length}, {"known_fault", each.known}});
    text += "libvhdi differs in " + std::to_string(each.range.length) + " bytes at offset " +
            std::to_string(each.range.offset) + ": " +
            (each.known.empty() ? "no fault of libvhdi that is known explains it"
                                : "its known fault: " + each.known) +
            "\n";
  }
  json described{
      {"compared_bytes", cross.compared_bytes}, {"differences", differences}, {"more", cross.more}};
  if (cross.more) text += "… and more\n";
  if (cross.unreadable) {
    described["unreadable"] = cross.unreadable->to_string();
    described["known_fault"] = cross.known;
    text += cross.unreadable->to_string() +
            (cross.known.empty() ? "" : " (its known fault: " + cross.known + ")") + "\n";
  }
  text += "compared with libvhdi: " + human_bytes(cross.compared_bytes) + "\n";
  return described;
}

Result<void> check(const Context& context, const FileOptions& options) {
  RS_TRY(auto checked, vdisk::check_disk(os::real_file_system(), options.path));
  std::string text;
  auto described = to_json(checked, text);
  described["path"] = options.path;
  bool bad = checked.has_errors();
  if (options.cross && !checked.refused) {
    auto done = crosscheck::cross_check(os::real_file_system(), options.path, [&](auto now, auto total) {
      context.progress("comparing", now, total);
    });
    context.end_progress();
    RS_TRY(auto cross, std::move(done));
    described["cross"] = to_json(cross, text);
    bad = bad || cross.has_unknown();
  }
  described["ok"] = !bad;
  context.print(described, text + options.path + (bad ? ": not in order" : ": in order"));
  return bad ? fail(ErrorCode::corrupt, options.path + ": the check found errors") : Result<void>{};
}

}  // namespace

Result<vdisk::Format> format_for(const std::string& path) {
  auto name = path;
  for (auto& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (name.ends_with(".vhdx") || name.ends_with(".avhdx")) return vdisk::Format::vhdx;
  if (name.ends_with(".vhd") || name.ends_with(".avhd")) return vdisk::Format::vhd;
  if (name.ends_with(".qcow2")) return vdisk::Format::qcow2;
  if (name.ends_with(".raw") || name.ends_with(".img")) return vdisk::Format::raw;
  return fail(
      ErrorCode::invalid_argument,
      path + ": its name does not say which format; end it in .vhdx, .vhd, .qcow2 or .raw, or give --format");
}

void add_reading_options(CLI::App* verb, vdisk::OpenOptions& open) {
  verb->add_flag("--ignore-checksum", open.ignore_checksum,
                 "Read a VHD whose footer or header has a wrong checksum");
  verb->add_option("--parent", open.parent, "The top layer's parent, wherever its file says it is");
}

void add_disk_file_verbs(CLI::App& noun, Context& context) {
  auto options = std::make_shared<FileOptions>();
  auto verb = [&](const std::string& name, const std::string& description,
                  std::function<Result<void>()> action) {
    auto* added = context.verb(noun, name, description, std::move(action));
    added->add_option("DISK", options->path, "The top layer: a VHDX, VHD or raw file")->required();
    return added;
  };

  auto* convert_verb = verb("convert", "Copy a disk, all its layers as one, into a new file",
                            [&context, options] { return convert(context, *options); });
  convert_verb->add_option("OUT", options->target, "The file to make")->required();
  convert_verb->add_option("--format", options->format, "vhdx, vhd, qcow2 or raw (default: by OUT's name)");
  convert_verb->add_flag("--fixed", options->fixed, "Take all the space at once");
  add_reading_options(convert_verb, options->open);

  verb("compact", "Rewrite a layer without blocks of zeros and without what its parent has too",
       [&context, options] { return compact(context, *options); });

  auto* check_verb = verb("check", "Verify the structure of every layer, and that they belong together",
                          [&context, options] { return check(context, *options); });
  check_verb->add_flag("--cross", options->cross, "Read the whole disk with libvhdi too, and compare");
}

}  // namespace roamstead::cli
