import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.ValidationOptions;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.UnknownCodeSystemWarningValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;

/**
 * The HL7 validator, offline: `Validate PACKAGE.ndjson RESOURCES.ndjson TEXT=PROFILE ...` holds every line of the second file against
 * R4 and the conformance resources of the first, and each RiskAssessment that holds TEXT against PROFILE. Each error is a line "line number TAB location TAB message"; the last line says how many
 * resources were validated.
 */
public final class Validate {
  public static void main(String[] arguments) throws Exception {
    FhirContext context = FhirContext.forR4();
    var ours = new PrePopulatedValidationSupport(context);
    for (String line : lines(arguments[0])) {
      IBaseResource resource = context.newJsonParser().parseResource(line);
      ours.addResource(resource);
    }
    var unknown = new UnknownCodeSystemWarningValidationSupport(context);
    unknown.setNonExistentCodeSystemSeverity(
        ca.uhn.fhir.context.support.IValidationSupport.IssueSeverity.WARNING);
    var chain =
        new ValidationSupportChain(
            new DefaultProfileValidationSupport(context),
            ours,
            new InMemoryTerminologyServerValidationSupport(context),
            new CommonCodeSystemsTerminologyService(context),
            new SnapshotGeneratingValidationSupport(context),
            unknown);
    FhirValidator validator = context.newValidator();
    validator.registerValidatorModule(new FhirInstanceValidator(chain));
    int number = 0;
    for (String line : lines(arguments[1])) {
      number++;
      var options = new ValidationOptions();
      for (int i = 2; i < arguments.length; i++) {
        if (line.contains("\"resourceType\": \"RiskAssessment\"")
            && line.contains(arguments[i].substring(0, arguments[i].indexOf('=')))) {
          options.addProfile(arguments[i].substring(arguments[i].indexOf('=') + 1));
        }
      }
      for (var message : validator.validateWithResult(line, options).getMessages()) {
        if (message.getSeverity().ordinal() >= ResultSeverityEnum.ERROR.ordinal()) {
          System.out.println(
              number + "\t" + message.getLocationString() + "\t" + message.getMessage().replace('\n', ' '));
        }
      }
    }
    System.out.println(number + " validated");
  }

  private static List<String> lines(String file) throws Exception {
    return Files.readAllLines(Path.of(file)).stream().filter(line -> !line.isBlank()).toList();
  }
}
