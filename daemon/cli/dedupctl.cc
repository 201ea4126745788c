// dedupctl: everything an operator does, with a running dedupd or, for profiles, without. Parses
// the command line, runs one command, prints its object or its text.
#include <CLI/CLI.hpp>
#include <csignal>
#include <filesystem>
#include <functional>
#include <iostream>

#include "api/request_body.h"
#include "api/server.h"
#include "cli/answer.h"
#include "cli/commands.h"
#include "cli/help.h"
#include "cli/manual.h"
#include "cli/names.h"
#include "cli/trace_commands.h"

namespace dedup {
namespace {

using Action = std::function<Result<CommandResult>(const ApiClient&)>;

struct Arguments {
  std::string socket = ApiClientOptions{}.socket;
  bool json = false;
  bool repair = false;
  std::string reference;
  std::string target;
  std::string file;
  std::string html;
  ImportRequest import_request;
  BuildRequest build_request;
  Action action;

  std::string full_reference() const {
    std::error_code error;
    return absolute_reference(reference, std::filesystem::current_path(error).string());
  }
};

CLI::App* add_command(CLI::App& parent, Arguments& arguments, const CommandHelp& help,
                      Action action) {
  CLI::App* command = parent.add_subcommand(help.name, help.summary);
  describe(*command, help.summary, help.description, help.footer);
  command->callback([&arguments, action] { arguments.action = action; });
  return command;
}

void add_reference(CLI::App* command, Arguments& a) {
  command->add_option("REF", a.reference, "image: HOST/REPOSITORY[:TAG][@DIGEST] or oci:DIR[:TAG]")
      ->required();
}

void add_output(CLI::App* command, std::string& file) {
  command->add_option("--output", file, "file to write; replaced when it exists")
      ->type_name("FILE")
      ->required();
}

void add_page(CLI::App* command, Arguments& a) {
  command
      ->add_option("--html", a.html, "write a page with a picture instead; replaced when it exists")
      ->type_name("PAGE");
}

void add_profile_exchange(CLI::App* profile, Arguments& a) {
  CLI::App* to_file = add_command(*profile, a, kProfileExportHelp, [&a](const ApiClient& c) {
    return run_profile_export(c, a.full_reference(), a.file);
  });
  add_reference(to_file, a);
  add_output(to_file, a.file);
  CLI::App* push = add_command(*profile, a, kProfilePushHelp, [&a](const ApiClient& c) {
    return run_profile_push(c, a.full_reference(), a.file.empty() ? "" : absolute_path(a.file));
  });
  add_reference(push, a);
  push->add_option("FILE", a.file, "a profile; without, what this node has recorded");
  add_reference(
      add_command(*profile, a, kProfilePullHelp,
                  [&a](const ApiClient& c) { return run_profile_pull(c, a.full_reference()); }),
      a);
  add_reference(
      add_command(*profile, a, kProfileRmHelp,
                  [&a](const ApiClient& c) { return run_profile_rm(c, a.full_reference()); }),
      a);
}

void add_profile_commands(CLI::App& app, Arguments& a) {
  CLI::App* profile = app.add_subcommand(kProfileHelp.name, kProfileHelp.summary);
  describe(*profile, kProfileHelp.summary, kProfileHelp.description, kProfileHelp.footer);
  profile->require_subcommand(1);
  CLI::App* show = add_command(*profile, a, kProfileShowHelp,
                               [&a](const ApiClient&) { return run_profile_show(a.file, a.html); });
  show->add_option("FILE", a.file, "a profile")->required();
  add_page(show, a);
  CLI::App* from_list = add_command(*profile, a, kProfileImportHelp, [&a](const ApiClient& c) {
    return a.reference.empty() ? run_profile_import(a.import_request)
                               : run_profile_import_for(c, a.import_request, a.full_reference());
  });
  from_list->add_option("LIST", a.import_request.list, "a list of files")->required();
  from_list
      ->add_option("--from", a.import_request.kind,
                   "auto (the default, by its content), paths, stargz, soci")
      ->type_name("KIND")
      ->check(CLI::IsMember({"auto", "paths", "stargz", "soci"}));
  from_list
      ->add_option("--layer", a.import_request.layers,
                   "a layer of the image; once each, bottom first")
      ->type_name("DIGEST")
      ->allow_extra_args(false);
  CLI::Option* image =
      from_list->add_option("--image", a.reference, "give it to dedupd, for this image")
          ->type_name("REF");
  from_list
      ->add_option("--output", a.import_request.output, "file to write; replaced when it exists")
      ->type_name("FILE")
      ->excludes(image);
  from_list->parse_complete_callback([&a] {
    if (a.reference.empty() && a.import_request.output.empty())
      throw CLI::RequiredError("--output or --image");
  });
  CLI::App* build = add_command(*profile, a, kProfileBuildHelp, [&a](const ApiClient&) {
    return run_profile_build(a.build_request);
  });
  build->add_option("RUN", a.build_request.runs, "profiles of single starts")->required();
  build
      ->add_option("--min-percent", a.build_request.min_percent_of_runs,
                   "drop what less of the starts touched, default 50")
      ->type_name("N")
      ->check(CLI::Range(0, 100));
  add_output(build, a.build_request.output);
  add_profile_exchange(profile, a);
}

void add_trace_target(CLI::App* command, Arguments& a) {
  command
      ->add_option("TARGET", a.reference, "a container's id, or the beginning of it; or an image")
      ->required();
}

void add_trace_commands(CLI::App& app, Arguments& a) {
  CLI::App* trace = app.add_subcommand(kTraceHelp.name, kTraceHelp.summary);
  describe(*trace, kTraceHelp.summary, kTraceHelp.description, kTraceHelp.footer);
  trace->require_subcommand(1);
  add_trace_target(
      add_command(*trace, a, kTraceStartHelp,
                  [&a](const ApiClient& c) { return run_trace_start(c, a.full_reference()); }),
      a);
  add_trace_target(
      add_command(*trace, a, kTraceStopHelp,
                  [&a](const ApiClient& c) { return run_trace_stop(c, a.full_reference()); }),
      a);
  add_command(*trace, a, kTraceListHelp, run_trace_list);
  CLI::App* show =
      add_command(*trace, a, kTraceShowHelp, [&a](const ApiClient& c) -> Result<CommandResult> {
        TRY(file, find_trace(c, a.full_reference()));
        return run_profile_show(file, a.html);
      });
  add_trace_target(show, a);
  add_page(show, a);
}

void add_commands(CLI::App& app, Arguments& a) {
  add_reference(add_command(app, a, kPullHelp,
                            [&a](const ApiClient& c) { return run_pull(c, a.full_reference()); }),
                a);
  CLI::App* mount = add_command(app, a, kMountHelp, [&a](const ApiClient& c) {
    return run_mount(c, a.full_reference(), absolute_path(a.target));
  });
  add_reference(mount, a);
  mount->add_option("MNT", a.target, "an existing directory")->required();
  add_command(app, a, kUmountHelp,
              [&a](const ApiClient& c) { return run_umount(c, absolute_path(a.target)); })
      ->add_option("MNT", a.target, "where the image is mounted")
      ->required();
  add_command(app, a, kImagesHelp, run_images);
  add_reference(add_command(app, a, kRmHelp,
                            [&a](const ApiClient& c) { return run_rm(c, a.full_reference()); }),
                a);
  add_command(app, a, kStatusHelp, run_status);
  CLI::App* pool = app.add_subcommand(kPoolHelp.name, kPoolHelp.summary);
  describe(*pool, kPoolHelp.summary, kPoolHelp.description, kPoolHelp.footer);
  pool->require_subcommand(1);
  add_command(*pool, a, kPoolStatHelp, run_pool_stat);
  add_command(app, a, kCheckHelp, [&a](const ApiClient& c) {
    return run_check(c, a.repair);
  })->add_flag("--repair", a.repair, "remove bad chunks, so that their next read fetches them");
  add_profile_commands(app, a);
  add_trace_commands(app, a);
}

void configure(CLI::App& app, Arguments& a) {
  describe(app, kProgramSummary, kProgramDescription, kProgramFooter);
  app.add_option("--socket", a.socket, "socket of dedupd, default " + a.socket)
      ->envname("DEDUP_SOCKET")
      ->type_name("PATH");
  app.add_flag("--json", a.json, "print one JSON object on standard output");
  app.set_version_flag("--version", std::string("dedupctl ") + DEDUP_VERSION,
                       "print the version and exit");
  app.set_help_flag("-h,--help", "print this text and exit");
  app.fallthrough();  // global options may follow the command
  app.require_subcommand(1);
  app.formatter(make_manual_formatter());
  add_commands(app, a);
}

// The option may stand behind what could not be parsed.
bool wants_json(int argc, char** argv) {
  return std::any_of(argv, argv + argc,
                     [](const char* text) { return std::string_view(text) == "--json"; });
}

int print_error(const Error& error, bool json, int exit_status) {
  std::cerr << "dedupctl: " << printable(error.to_string()) << "\n";
  if (json) std::cout << dump_json(error_json(error)) << "\n" << std::flush;
  return exit_status;
}

int usage_error(const CLI::ParseError& e, bool json) {
  std::string sentence = e.what();
  if (const size_t line = sentence.find('\n'); line != std::string::npos) sentence.resize(line);
  return print_error(make_error(Errc::kInvalid, sentence + "; see dedupctl --help"), json,
                     kExitUsage);
}

int print_result(const CommandResult& result, bool json) {
  std::cout << (json ? dump_json(result.object) + "\n" : result.text) << std::flush;
  if (std::cout.good()) return result.exit_status;
  std::cerr << "dedupctl: cannot write the output\n";
  return kExitFailed;
}

int run(int argc, char** argv) {
  Arguments arguments;
  CLI::App app;
  app.name("dedupctl");
  configure(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    return usage_error(e, wants_json(argc, argv));
  }
  const ApiClient client(ApiClientOptions{.socket = arguments.socket});
  const auto result = arguments.action(client);
  if (result.ok()) return print_result(*result, arguments.json);
  return print_error(result.error(), arguments.json,
                     daemon_unreachable(result.error()) ? kExitUnreachable : kExitFailed);
}

}  // namespace
}  // namespace dedup

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed output is an error message, not a death
  try {
    return dedup::run(argc, argv);
  } catch (const std::exception& e) {  // CLI11 and iostreams
    std::cerr << "dedupctl: " << e.what() << "\n";
    return dedup::kExitFailed;
  }
}
